"""The gateway's connections to its backends: gRPC channels, serialized messages in and out. They repeat nothing."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2

from services.common.rpc import peers
from services.gateway import limits
from services.gateway.catalog import Backend

READINESS = "readiness"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
# How often backends are asked that are awaited.
_LOOK_S = 0.1

_OPTIONS = (
    ("grpc.max_receive_message_length", limits.ANSWER_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    # A backend may be so far ahead of a client that reads slowly, and no further: by itself, gRPC lets a fast network
    # bring a hundred megabytes that nobody has asked for yet. A message that is awaited may come whole.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", limits.LOOKAHEAD_BYTES),
    *peers.LOOKING,
    # A backend that comes back is found within a second or two, not after gRPC's usual two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config", peers.SERVICE_CONFIG),
)

# Channels to one address would else share a connection.
_OPTIONS_OF_ITS_OWN = (*_OPTIONS, ("grpc.use_local_subchannel_pool", 1))

Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """A backend's channels. Calls take and return messages in their wire form and raise grpc.aio.AioRpcError."""

    name: str
    # Calls take turns among them.
    channels: Sequence[grpc.aio.Channel]
    # Watches stay for long, and a connection has room for so many calls: they have one of their own.
    watch_channel: grpc.aio.Channel
    health_checks: Sequence[Callable[..., Any]]

    def unary(self, rpc: str) -> Callable[..., Any]:
        """Return the callable of a method that answers with one message."""
        return _in_turns([channel.unary_unary(rpc) for channel in self.channels])

    def stream(self, rpc: str) -> Callable[..., Any]:
        """Return the callable of a method that answers with a stream of messages."""
        return _in_turns([channel.unary_stream(rpc) for channel in self.channels])

    def watch(self, rpc: str) -> Callable[..., Any]:
        """Return the callable of a method that answers with a stream that has no end of its own."""
        call: Callable[..., Any] = self.watch_channel.unary_stream(rpc)
        return call

    def upload(self, rpc: str) -> Callable[..., Any]:
        """Return the callable of a method that takes a stream of messages and answers with one."""
        return _in_turns([channel.stream_unary(rpc) for channel in self.channels])

    async def close(self) -> None:
        """Close the channels."""
        await asyncio.gather(*(channel.close() for channel in (*self.channels, self.watch_channel)))

    async def is_ready(self) -> bool:
        """Whether the backend answers in time, by each channel, that it serves."""
        request = health_pb2.HealthCheckRequest(service=READINESS).SerializeToString()
        try:
            checks = [check(request, timeout=limits.HEALTH_TIMEOUT_S) for check in self.health_checks]
            answers = await asyncio.gather(*checks)
        except grpc.aio.AioRpcError:
            return False
        serving = health_pb2.HealthCheckResponse.SERVING
        return all(health_pb2.HealthCheckResponse.FromString(answer).status == serving for answer in answers)


class Sending:
    """The messages of a call that takes a stream of them. Raises grpc.aio.InternalError once the call is over.

    The call's own `write` then puts an error of its own where the answer is to be, if the answer comes while it sends:
    one early refusal in twenty was lost so. What it is built on does not.
    """

    def __init__(self, call: Any) -> None:
        self._call = call._cython_call

    async def write(self, message: bytes) -> None:
        """Send a message; returns when the network has taken it."""
        await self._call.send_serialized_message(message)

    async def end(self) -> None:
        """Tell that there are no more."""
        await self._call.send_receive_close()


class Connections:
    """The connections to all backends; made within a running event loop."""

    def __init__(self, backends: Iterable[Backend], *, count: int = 1) -> None:
        """`count` is how many connections there are to each address of a backend, besides one for watches."""
        self._by_name = {backend.name: _connect(backend, count) for backend in backends}
        self._check: asyncio.Task[frozenset[str]] | None = None

    def __getitem__(self, name: str) -> Connection:
        return self._by_name[name]

    async def ready(self) -> frozenset[str]:
        """Return the names of the backends that serve; callers that ask at the same time share one answer."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._check)

    async def are_ready(self) -> bool:
        """Whether every backend serves."""
        return await self.ready() == self._by_name.keys()

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Return when every backend serves, or after so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not await self.are_ready():  # noqa: ASYNC110 -- they are asked, they do not tell
                    await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Close every channel; calls under way are cancelled."""
        await asyncio.gather(*(connection.close() for connection in self._by_name.values()))

    async def _ask_all(self) -> frozenset[str]:
        answers = await asyncio.gather(*(connection.is_ready() for connection in self._by_name.values()))
        return frozenset(name for name, is_ready in zip(self._by_name, answers, strict=True) if is_ready)


def _in_turns(calls: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """Return what calls one after the other."""
    if len(calls) == 1:
        return calls[0]
    turns = itertools.cycle(calls)
    return lambda *arguments, **options: next(turns)(*arguments, **options)


def _connect(backend: Backend, count: int) -> Connection:
    target = backend.address.target
    channels = [grpc.aio.insecure_channel(target, options=_OPTIONS_OF_ITS_OWN) for _ in range(count)]
    return Connection(
        name=backend.name,
        channels=channels,
        health_checks=[channel.unary_unary(_HEALTH_CHECK) for channel in channels],
        watch_channel=grpc.aio.insecure_channel(target, options=_OPTIONS_OF_ITS_OWN),
    )
