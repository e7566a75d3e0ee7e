"""The gateway: settings → routes and channels → ASGI application → uvicorn, one process."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from services.common import auth, logs, settings, telemetry
from services.common.settings import Address, SettingsError
from services.gateway import catalog, limits
from services.gateway.admission import Admission
from services.gateway.app import Gateway
from services.gateway.backends import Connections
from services.gateway.hosts import Hosts
from services.gateway.pages import Pages
from services.gateway.protocol import BoundedProtocol
from services.gateway.routes import RouteTable
from services.gateway.settings import Settings
from services.gateway.transcoding import Transcoder

_BACKLOG = 2048
# Messages and JSON come and go by the ten thousand and hold no cycles: look for cycles seldom.
_COLLECT_AFTER = (50_000, 20, 100)


def main() -> None:
    """Serve until SIGTERM or SIGINT, then let requests under way end. Exits 2 with one sentence for a wrong setting."""
    try:
        config = settings.load(Settings, os.environ)
        logs.configure(log_format=config.log_format, log_level=config.log_level)
        telemetry.start("gateway", otlp_endpoint=config.otlp_endpoint, metrics_listen=config.metrics_listen)
        listener = _listen(config.listen)
        uvloop.run(_serve(config, listener))
    except SettingsError as error:
        print(f"gateway: {error}", file=sys.stderr)
        sys.exit(2)


async def _serve(config: Settings, listener: socket.socket) -> None:
    backends = catalog.backends(config)
    table = RouteTable(backends)
    connections = Connections(backends)
    gateway = Gateway(
        table=table,
        transcoder=Transcoder(table, connections),
        pages=Pages(table, connections),
        hosts=Hosts.of(config),
        authenticator=auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen),
        admission=Admission(),
    )
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    await _Server(gateway, drain_notice_s=config.drain_notice_s).serve(sockets=[listener])
    await connections.close()


class _Server(uvicorn.Server):
    """uvicorn that goes on for a while after it was told to stop, and takes the signal as a reason to end well."""

    def __init__(self, gateway: Gateway, *, drain_notice_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                gateway,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=limits.IDLE_TIMEOUT_S,
                timeout_graceful_shutdown=limits.DRAIN_TIMEOUT_S,
            )
        )
        self._drain_notice_s = drain_notice_s

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        asyncio.get_running_loop().call_later(self._drain_notice_s, setattr, self, "should_exit", True)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"MODELSTEAD_LISTEN={address} cannot be listened on: {error.strerror or error}; is the port taken?"
        ) from error


if __name__ == "__main__":
    main()
