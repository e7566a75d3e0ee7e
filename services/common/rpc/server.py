"""Assembles a gRPC server from servicers, with health, reflection by setting, and a drain at the end."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common import garbage
from services.common.rpc import contract
from services.common.rpc.health import LIVENESS, READINESS, Health
from services.common.rpc.pipeline import Pipeline, Room
from services.common.settings import Address, SettingsError, variable

DRAIN_S = 30.0
CONNECTION_AGE_S = 300.0
CONNECTION_GRACE_S = 60.0
READINESS_PERIOD_S = 1.0

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 4096),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # Gateways look every few seconds whether a server that says nothing is there.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)

_log = logging.getLogger("modelstead.server")


@dataclass(frozen=True, slots=True)
class Service:
    """A proto service and the object whose methods, of the same names, serve it."""

    descriptor: ServiceDescriptor
    servicer: Any
    # Where what the requests of a method bring finds room, by the method's name.
    rooms: Mapping[str, Room] = field(default_factory=dict)


async def serve(
    services: Sequence[Service],
    *,
    listen: Address,
    shares_port: bool = False,
    health_listen: Address | None = None,
    pipeline: Pipeline,
    ready: Callable[[], Awaitable[bool]],
    with_reflection: bool,
    drain_notice_s: float,
    connection_age_s: float = CONNECTION_AGE_S,
    connection_grace_s: float = CONNECTION_GRACE_S,
    lookahead_bytes: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain: tell NOT_SERVING, go on for `drain_notice_s` so that peers send their
    calls elsewhere, for one that comes while connections are closed would be cancelled; end the watches, let other
    calls under way end within 30 s, return.

    With `shares_port` other processes may listen on the same address. Health is told there, and in plain text at
    `health_listen`, which answers for as long as the process lives.

    `ready` is asked once a second. Connections are closed after `connection_age_s`, or a tenth sooner or later, so that
    callers look anew who is there, and spread; then calls under way have `connection_grace_s` to end. Of a stream of
    requests `lookahead_bytes` are taken in before they are asked for, else as many as the network seems to want.

    Raises SettingsError if the address is taken, ContractError for a wrong proto.
    """
    options = _options(connection_age_s, connection_grace_s, lookahead_bytes, shares_port=shares_port)
    server = grpc.aio.server(options=options)
    for service in services:
        server.add_generic_rpc_handlers((_handlers(service, pipeline),))
    health = Health()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if with_reflection:
        names = [service.descriptor.full_name for service in services]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    _bind(server, listen, "listen")
    probed = _health_server(health, health_listen, shares_port=shares_port)
    garbage.collect_seldom()
    await asyncio.gather(server.start(), *(each.start() for each in probed))
    health.set(LIVENESS, serves=True)
    _log.info("listening", extra={"address": str(listen)})
    watcher = asyncio.create_task(_watch_readiness(health, ready))
    await _signal()
    watcher.cancel()
    health.drain()
    await asyncio.sleep(drain_notice_s)
    pipeline.drain()
    health.end()
    await server.stop(DRAIN_S)
    await asyncio.gather(*(each.stop(0) for each in probed))
    _log.info("stopped")


def _health_server(health: Health, listen: Address | None, *, shares_port: bool) -> list[grpc.aio.Server]:
    """Return the server that tells of health and nothing else, if there is to be one."""
    if listen is None:
        return []
    server = grpc.aio.server(options=[("grpc.so_reuseport", int(shares_port))])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    _bind(server, listen, "health_listen")
    return [server]


def _options(age_s: float, grace_s: float, lookahead_bytes: int | None, *, shares_port: bool) -> list[tuple[str, int]]:
    options = [
        *OPTIONS,
        ("grpc.so_reuseport", int(shares_port)),
        ("grpc.max_connection_age_ms", int(age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(grace_s * 1000)),
    ]
    if lookahead_bytes is not None:
        options += [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", lookahead_bytes)]
    return options


def _handlers(service: Service, pipeline: Pipeline) -> grpc.GenericRpcHandler:
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
    for method in contract.of_service(service.descriptor):
        handlers[method.name] = _handler(
            method, getattr(service.servicer, method.name), pipeline, service.rooms.get(method.name)
        )
    return grpc.method_handlers_generic_handler(service.descriptor.full_name, handlers)


def _handler(
    method: contract.Contract, function: Any, pipeline: Pipeline, room: Room | None
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    if method.streams_requests and method.streams_responses:
        return grpc.stream_stream_rpc_method_handler(pipeline.exchange(method, function))
    if method.streams_requests:
        return grpc.stream_unary_rpc_method_handler(pipeline.upload(method, function))
    if method.streams_responses:
        return grpc.unary_stream_rpc_method_handler(pipeline.stream(method, function))
    if room is not None:
        # To its callers it is the same; here a request is read when it is asked for.
        return grpc.stream_unary_rpc_method_handler(pipeline.weighed(method, function, room))
    return grpc.unary_unary_rpc_method_handler(pipeline.unary(method, function))


def _bind(server: grpc.aio.Server, listen: Address, name: str) -> None:
    try:
        server.add_insecure_port(str(listen))
    except RuntimeError as error:
        raise SettingsError(f"{variable(name)}={listen} cannot be listened on; is the port taken?") from error


async def _watch_readiness(health: Health, ready: Callable[[], Awaitable[bool]]) -> None:
    while True:
        try:
            serves = await ready()
        except Exception:  # noqa: BLE001 -- nobody waits for this task, and what it told last would stand for ever
            _log.exception("whether the server is ready is not known")
            serves = False
        health.set(READINESS, serves=serves)
        await asyncio.sleep(READINESS_PERIOD_S)


async def _signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
