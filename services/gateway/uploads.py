"""Passes a request's raw body on as a stream of messages, piece by piece as it comes.

The first message is made of path, query and headers. The field that the route names then takes the body: its media type
in the first message, its bytes in those that follow. After a body of which no header told the length comes an empty
message: for a moment, a gRPC call that was broken off looks to its receiver like one that has ended.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from services.common.rpc import wire
from services.gateway import bodies, calls, limits
from services.gateway.backends import Connections, Sending
from services.gateway.bodies import Bodies, ClientGone, Incoming, Pieces
from services.gateway.encoding import ResponseEncoder
from services.gateway.replies import Reply
from services.gateway.requests import Request
from services.gateway.routes import Match, Route, RouteTable

_END_MARK = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Method:
    """How one RPC is called, and the number of the field that takes the body.

    On the wire a unary call is a stream of one message, and costs half as much.
    """

    stream: Callable[..., Any]
    unary: Callable[..., Any]
    field_number: int
    encoder: ResponseEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class _Upload:
    """A body under way: the message that goes before it, and where its pieces come from and go to."""

    first: bytes
    field_number: int
    pieces: Pieces
    incoming: Incoming
    has_end_mark: bool


class Uploads:
    """Answers requests whose body is passed on as it comes."""

    def __init__(self, table: RouteTable, connections: Connections, bodies: Bodies) -> None:
        self._bodies = bodies
        self._methods = {route: _method(route, connections) for route in table.routes if route.takes_bytes}

    async def answer(self, match: Match, request: Request, incoming: Incoming) -> Reply:
        """Return the RPC's answer, which may come before the body has been read. Raises ServiceError or ClientGone."""
        bodies.check_size(request.content_length or 0, limits.TRANSFER_BYTES_MAX)
        method = self._methods[match.route]
        upload = _Upload(
            first=_first_message(match, request),
            field_number=method.field_number,
            pieces=Pieces(self._bodies, incoming),
            incoming=incoming,
            has_end_mark=b"content-length" not in request.headers,
        )
        timeout_s, metadata = request.timeout_s(limits.TRANSFER_TIMEOUT_S), calls.metadata(request)
        try:
            if request.has_long_body or upload.has_end_mark:
                answer = await _in_pieces(method.stream(timeout=timeout_s, metadata=metadata), upload)
            else:
                message = await _whole(upload)
                answer = await _at_once(method.unary(message, timeout=timeout_s, metadata=metadata), incoming)
        finally:
            upload.pieces.release()
        # MLflow answers uploads with nothing at all.
        return Reply(body=method.encoder.to_json(answer) if answer else b"")


def _method(route: Route, connections: Connections) -> _Method:
    connection, encoder = connections[route.backend], route.encoder
    assert isinstance(encoder, ResponseEncoder)
    return _Method(
        stream=connection.upload(route.rpc),
        unary=connection.unary(route.rpc),
        field_number=route.method.input_type.fields_by_name[route.body].number,
        encoder=encoder,
    )


def _first_message(match: Match, request: Request) -> bytes:
    route = match.route
    texts = {**match.variables, **route.decoder.texts_of(request.headers)}
    message: Message = route.decoder.from_query(request.query, texts)
    getattr(message, route.body).content_type = request.header(b"content-type") or ""
    return message.SerializeToString()


async def _whole(upload: _Upload) -> bytes:
    parts: list[wire.Bytes] = []
    while not upload.pieces.is_over:
        parts += await upload.pieces.read()
    return upload.first + wire.piece(upload.field_number, parts)


async def _at_once(call: Any, incoming: Incoming) -> bytes:
    with calls.cancelled_when_gone(call, incoming), calls.translated():
        answer: bytes = await call
        return answer


async def _in_pieces(call: Any, upload: _Upload) -> bytes:
    """Return the answer of a call that is sent the body meanwhile. What goes wrong with the body cancels the call."""
    sender = asyncio.create_task(_send(call, upload))
    sender.add_done_callback(lambda done: None if done.cancelled() or not done.exception() else call.cancel())
    try:
        with calls.translated():
            answer: bytes = await call
            return answer
    except asyncio.CancelledError:
        if sender.done() and not sender.cancelled() and (failure := sender.exception()):
            raise failure from None
        raise
    finally:
        sender.cancel()


async def _send(call: Any, upload: _Upload) -> None:
    """Send until the call or the client ends, whichever is first; how the call ended is for others to tell.

    Raises ServiceError or ClientGone.
    """
    pieces = upload.pieces
    try:
        await call.wait_for_connection()
        sending = Sending(call)
        await sending.write(upload.first)
        while not pieces.is_over:
            if parts := await pieces.read():
                await sending.write(wire.piece(upload.field_number, parts))
            pieces.release()
        if upload.has_end_mark:
            await sending.write(_END_MARK)
        await sending.end()
    except (grpc.aio.AioRpcError, grpc.aio.InternalError):
        return
    await calls.gone(upload.incoming)
    raise ClientGone
