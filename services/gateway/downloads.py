"""Passes a backend's stream of `google.api.HttpBody` on as the answer, piece by piece as it comes."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import grpc.aio
from google.api import httpbody_pb2

from modelstead import http_pb2
from services.common.errors import ServiceError
from services.common.rpc import wire
from services.gateway import calls, errors
from services.gateway.bodies import Incoming
from services.gateway.calls import StreamBroken
from services.gateway.replies import Header, StreamedReply
from services.gateway.requests import Request

_BINARY = "application/octet-stream"
# A status whose answer has no body, and so no length.
_BODILESS = frozenset({204, 304})
# What this server says itself of every answer.
_OURS = frozenset({"connection", "content-type", "date", "transfer-encoding", "x-content-type-options", "x-request-id"})

# Files are attachments, never pages of ours. Should a browser render one all the same, it has no origin, runs nothing
# and loads nothing. What MLflow's UI shows of files it fetches itself, as data that this header does not bind.
_SANDBOX: Header = (b"content-security-policy", b"default-src 'none'; sandbox")


async def download(call: Any, request: Request, incoming: Incoming) -> StreamedReply:
    """Return the answer once its first message has come. Raises ServiceError or ClientGone."""
    with calls.cancelled_when_gone(call, incoming), calls.translated():
        message = await call.read()
        if message is grpc.aio.EOF:
            raise errors.unexpected("backend answered with an empty stream")
        first = httpbody_pb2.HttpBody.FromString(message)
    head = _head(first)
    status = head.status or 200
    has_body = request.method != "HEAD" and status not in _BODILESS
    if not has_body:
        call.cancel()
    return StreamedReply(
        status=status,
        media_type=(first.content_type or _BINARY).encode("latin-1"),
        headers=(*_headers(head.headers, status), _SANDBOX),
        pieces=_pieces(call, incoming, first.data) if has_body else _nothing(),
    )


def _head(first: httpbody_pb2.HttpBody) -> http_pb2.HttpHead:
    head = http_pb2.HttpHead()
    for extension in first.extensions:
        if extension.Is(http_pb2.HttpHead.DESCRIPTOR):
            extension.Unpack(head)
    return head


def _headers(given: Mapping[str, str], status: int) -> list[Header]:
    dropped = _OURS | {"content-length"} if status in _BODILESS else _OURS
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items() if name not in dropped]


async def _pieces(call: Any, incoming: Incoming, piece: wire.Bytes) -> AsyncGenerator[wire.Bytes, None]:
    with calls.cancelled_when_gone(call, incoming):
        yield piece
        while (message := await _next(call)) is not grpc.aio.EOF:
            yield wire.data(message)


async def _next(call: Any) -> Any:
    try:
        with calls.translated():
            return await call.read()
    except ServiceError as error:
        raise StreamBroken(error.reason) from error


async def _nothing() -> AsyncGenerator[wire.Bytes, None]:
    for piece in tuple[wire.Bytes, ...]():
        yield piece
