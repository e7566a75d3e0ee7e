"""What every call to a backend has in common: its metadata, its failures, and its end when nobody waits for it."""

import asyncio
from types import TracebackType
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError
from starlette.types import Receive

from services.common import tracing
from services.gateway import errors, limits
from services.gateway.backends import Metadata
from services.gateway.bodies import ClientGone
from services.gateway.requests import Request

_UNWATCHED_S = 0.1


class StreamBroken(Exception):
    """A stream failed after its answer had begun."""


class Repeats:
    """How many calls may be made again: one in ten, and as many at once as are under way when a backend hangs."""

    def __init__(self) -> None:
        self._left = limits.REPEATS_MAX

    def give(self) -> None:
        """Count a call that was answered."""
        self._left = min(self._left + limits.REPEATS_SHARE, limits.REPEATS_MAX)

    def take(self) -> bool:
        """Whether there is one left; it is gone then."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


def metadata(request: Request) -> Metadata:
    """Return what a call tells besides its message: the request's id, its trace and the caller's credentials."""
    pairs = [("x-request-id", request.request_id), *tracing.inject().items()]
    if request.authorization is not None:
        pairs.append(("authorization", request.authorization))
    return pairs


class translated:  # noqa: N801 -- reads as what it is used as
    """A block that raises the ServiceError that a failure of a call stands for. A class, for every call pays for it."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            raise errors.from_rpc(error) from error
        if isinstance(error, DecodeError):
            raise errors.unexpected("backend sent no well-formed message") from error


class cancelled_when_gone:  # noqa: N801 -- as above
    """A block within which a call is cancelled once nobody waits for its answer: then ClientGone leaves it.

    It is looked after from its tenth of a second on. Most calls are over by then, and spared the task that it takes.
    """

    __slots__ = ("_call", "_receive", "_timer", "_watcher")

    def __init__(self, call: Any, receive: Receive) -> None:
        self._call = call
        self._receive = receive
        self._watcher: asyncio.Future[None] | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_UNWATCHED_S, self._watch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is None:
            return
        is_gone = self._watcher.done() and not self._watcher.cancelled()
        self._watcher.cancel()
        if is_gone and isinstance(error, asyncio.CancelledError):
            raise ClientGone from None

    def _watch(self) -> None:
        self._watcher = asyncio.ensure_future(gone(self._receive))
        self._watcher.add_done_callback(lambda done: None if done.cancelled() else self._call.cancel())


async def gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
