"""What the gateway answers: a status line's worth of facts and a body, whole or as pieces that come one by one."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Send

from services.common.rpc.wire import Bytes

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
HTML = b"text/html; charset=utf-8"

# Its length would be that of the body which it spares.
_NOT_MODIFIED = 304

Header = tuple[bytes, bytes]

# On every answer, as stock sets them.
_SECURITY_HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer whose body is known."""

    body: bytes
    status: int = 200
    media_type: bytes = JSON
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamedReply:
    """An answer whose body's pieces may be any number, and may fail to come to an end."""

    pieces: AsyncGenerator[Bytes, None]
    status: int = 200
    media_type: bytes = JSON
    headers: tuple[Header, ...] = ()


async def send_reply(send: Send, reply: Reply, *headers: Header) -> None:
    """Send a whole answer."""
    await _begin(send, reply, headers)
    await send({"type": "http.response.body", "body": reply.body})


async def send_last_reply(send: Send, reply: Reply, *headers: Header, linger: Callable[[], Awaitable[None]]) -> None:
    """Send a whole answer and, after having lingered, close the connection.

    A client that is still sending would lose the answer if the connection were closed at once.
    """
    await _begin(send, reply, ((b"connection", b"close"), *headers))
    await send({"type": "http.response.body", "body": reply.body, "more_body": True})
    await linger()
    await send({"type": "http.response.body", "body": b""})


async def send_stream(send: Send, reply: StreamedReply, *headers: Header) -> None:
    """Send an answer piece by piece. An exception of the pieces leaves the body without its end."""
    await send(_start(reply.status, (*reply.headers, *headers), reply.media_type))
    async with contextlib.aclosing(reply.pieces) as pieces:
        async for piece in pieces:
            if piece:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _begin(send: Send, reply: Reply, headers: tuple[Header, ...]) -> None:
    length = () if reply.status == _NOT_MODIFIED else ((b"content-length", b"%d" % len(reply.body)),)
    await send(_start(reply.status, (*length, *reply.headers, *headers), reply.media_type))


def _start(status: int, headers: tuple[Header, ...], media_type: bytes) -> dict[str, Any]:
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(b"content-type", media_type), *headers, *_SECURITY_HEADERS],
    }
