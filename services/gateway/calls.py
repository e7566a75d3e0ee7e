"""What every call to a backend has in common: its metadata, its failures, and its end when nobody waits for it."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError
from starlette.types import Receive

from services.common import telemetry
from services.gateway import errors
from services.gateway.backends import Metadata
from services.gateway.bodies import ClientGone
from services.gateway.requests import Request


class StreamBroken(Exception):
    """A stream failed after its answer had begun."""


def metadata(request: Request) -> Metadata:
    """Return what a call tells besides its message: the request's id, its trace and the caller's credentials."""
    pairs = [("x-request-id", request.request_id), *telemetry.inject().items()]
    if request.authorization is not None:
        pairs.append(("authorization", request.authorization))
    return pairs


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the ServiceError that a failure of a call stands for."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error) from error
    except DecodeError as error:
        raise errors.unexpected("backend sent no well-formed message") from error


@contextlib.contextmanager
def cancelled_when_gone(call: Any, receive: Receive) -> Iterator[None]:
    """Cancel a call as soon as nobody waits for its answer. Raises ClientGone."""
    watcher = asyncio.ensure_future(gone(receive))
    watcher.add_done_callback(lambda done: None if done.cancelled() else call.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled():
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()


async def gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
