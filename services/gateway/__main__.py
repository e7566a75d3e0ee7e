"""The gateway: settings → routes and channels → ASGI application → uvicorn, one process or several on one address."""

import logging
import os
import socket
import sys
import time
from collections.abc import Sequence

import uvloop
from prometheus_client import Gauge

from services.common import auth, garbage, logs, memory, settings, telemetry, tracing
from services.common.auth import Authenticator
from services.common.prefork import launch
from services.common.settings import SettingsError
from services.gateway import catalog, limits
from services.gateway.admission import Admission
from services.gateway.app import Gateway
from services.gateway.backends import Connections
from services.gateway.console import build as console
from services.gateway.console.api import Api
from services.gateway.graphql.endpoint import Endpoint
from services.gateway.hosts import Hosts
from services.gateway.pages import Pages
from services.gateway.routes import RouteTable
from services.gateway.server import Server, listen
from services.gateway.sessions import Sessions
from services.gateway.settings import Settings
from services.gateway.transcoding import Transcoder
from services.gateway.ui import wheel
from services.gateway.ui.pages import WebUI

IN_FLIGHT = Gauge("modelstead_gateway_requests_in_flight", "Requests that are being answered, by kind.", ["kind"])

_log = logging.getLogger("modelstead.gateway")


def main() -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Exits 2 with one sentence for a wrong setting."""
    try:
        config = settings.load(Settings, os.environ)
        logs.configure(log_format=config.log_format, log_level=config.log_level, context=tracing.current_ids)
        # What uvicorn says at INFO is about itself; requests and the start have lines of ours.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        authenticator = auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen)
        if launch.becomes_parent(config):
            launch.become_parent(config, "services.gateway", environ=os.environ)
        telemetry.start("gateway", otlp_endpoint=config.otlp_endpoint, metrics_listen=config.metrics_listen)
        uvloop.run(_serve(config, authenticator, listen(config.listen, shares_port=launch.shares_port(config))))
    except SettingsError as error:
        print(f"gateway: {error}", file=sys.stderr)
        sys.exit(2)


async def _serve(config: Settings, authenticator: Authenticator, listener: socket.socket) -> None:
    memory.keep_little()
    connections, gateway = build(config, catalog.backends(config), authenticator)
    garbage.collect_seldom()
    server = Server(gateway, drain_notice_s=config.drain_notice_s)
    if launch.shares_port(config):
        # From then on it is given calls that workers beside it, which are ready, would answer.
        server.listen_after(connections.wait_until_ready(limits.START_TIMEOUT_S))
    await server.serve(sockets=[listener])
    await connections.close()
    _log.info("stopped")


def build(
    config: Settings, backends: Sequence[catalog.Backend], authenticator: Authenticator
) -> tuple[Connections, Gateway]:
    """Put the application together, within a running event loop. Raises RouteError or DialectError."""
    table = RouteTable(backends)
    connections = Connections(backends, count=config.backend_connections)
    transcoder = Transcoder(table, connections)
    sessions = Sessions(config.session_keys, lifetime_s=config.session_lifetime_s, now=time.time)
    api = Api(table, transcoder)
    admission = Admission(requests_max=limits.REQUESTS_MAX, per_caller_max=limits.REQUESTS_PER_CALLER_MAX)
    watch_admission = Admission(requests_max=limits.WATCHES_MAX, per_caller_max=limits.WATCHES_PER_CALLER_MAX)
    IN_FLIGHT.labels("request").set_function(lambda: admission.count)
    IN_FLIGHT.labels("watch").set_function(lambda: watch_admission.count)
    gateway = Gateway(
        table=table,
        transcoder=transcoder,
        pages=Pages(
            table,
            connections,
            presigned_artifacts=config.presigned_artifacts,
            public_tracking_address=config.public_tracking_address,
            web_ui=WebUI(wheel.find_pages(config.ui_folder) if config.ui else None),
            root_path=config.root_path,
        ),
        graphql=Endpoint(api),
        console=console.build(config, api=api, sessions=sessions, authenticator=authenticator),
        sessions=sessions,
        hosts=Hosts.of(config),
        authenticator=authenticator,
        admission=admission,
        watch_admission=watch_admission,
        root_path=config.root_path,
    )
    return connections, gateway


if __name__ == "__main__":
    main()
