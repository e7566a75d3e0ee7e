"""Passes a request's raw body on as a stream of messages, piece by piece as it comes.

The first message is made of path, query and headers. The field that the route names then takes the body: its media type
in the first message, its bytes in those that follow.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from services.gateway import bodies, calls, limits, wire
from services.gateway.backends import Connections
from services.gateway.bodies import Bodies, Incoming, Pieces
from services.gateway.encoding import ResponseEncoder
from services.gateway.replies import Reply
from services.gateway.requests import Request
from services.gateway.routes import Match, Route, RouteTable


@dataclass(frozen=True, kw_only=True, slots=True)
class _Method:
    """How one RPC is called, and the number of the field that takes the body.

    On the wire a stream of one message is a unary call, which costs half as much.
    """

    stream: Callable[..., Any]
    unary: Callable[..., Any]
    field_number: int
    encoder: ResponseEncoder


class Uploads:
    """Answers requests whose body is passed on as it comes."""

    def __init__(self, table: RouteTable, connections: Connections, bodies: Bodies) -> None:
        self._bodies = bodies
        self._methods = {route: _method(route, connections) for route in table.routes if route.takes_bytes}

    async def answer(self, match: Match, request: Request, incoming: Incoming) -> Reply:
        """Return the RPC's answer, which may come before the body has been read. Raises ServiceError or ClientGone."""
        bodies.check_size(request.content_length or 0, limits.TRANSFER_BYTES_MAX)
        method = self._methods[match.route]
        first = _first_message(match, request)
        pieces = Pieces(self._bodies, incoming)
        options = {
            "timeout": request.timeout_s(limits.TRANSFER_TIMEOUT_S),
            "metadata": calls.metadata(request),
        }
        try:
            if request.has_long_body:
                answer = await _in_pieces(method.stream(**options), first, method.field_number, pieces, incoming)
            else:
                message = first + await _whole(method.field_number, pieces)
                answer = await _at_once(method.unary(message, **options), incoming)
        finally:
            pieces.release()
        return Reply(body=_printed(answer, method.encoder))


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


async def _whole(field_number: int, pieces: Pieces) -> bytes:
    parts: list[wire.Bytes] = []
    while not pieces.is_over:
        parts += await pieces.read()
    return wire.piece(field_number, parts)


async def _at_once(call: Any, incoming: Incoming) -> bytes:
    with calls.cancelled_when_gone(call, incoming), calls.translated():
        answer: bytes = await call
        return answer


async def _in_pieces(call: Any, first: bytes, field_number: int, pieces: Pieces, incoming: Incoming) -> bytes:
    """Return the answer of a call that is sent the body meanwhile. What goes wrong with the body cancels the call."""
    sender = asyncio.create_task(_send(call, first, field_number, pieces, incoming))
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


async def _send(call: Any, first: bytes, field_number: int, pieces: Pieces, incoming: Incoming) -> None:
    """Send until the call or the client ends, whichever is first; of the call, others learn how it ended.

    Raises ServiceError or ClientGone.
    """
    try:
        await call.write(first)
        while not pieces.is_over:
            if parts := await pieces.read():
                await call.write(wire.piece(field_number, parts))
            pieces.release()
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return
    await calls.gone(incoming)
    raise bodies.ClientGone


def _printed(answer: bytes, encoder: ResponseEncoder) -> bytes:
    # MLflow answers uploads with nothing at all.
    return b"" if not answer else encoder.to_json(answer)
