"""One API request, from its body to its answer: decode, call the backend, encode."""

import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from services.common.errors import ServiceError
from services.common.rpc.contract import may_repeat
from services.gateway import calls, dialect, errors, limits
from services.gateway.backends import Connections
from services.gateway.bodies import Bodies, Incoming
from services.gateway.calls import StreamBroken
from services.gateway.downloads import download
from services.gateway.encoding import ResponseEncoder, Splice, StreamEncoder
from services.gateway.events import EventEncoder, Watches
from services.gateway.replies import Reply, StreamedReply
from services.gateway.requests import Request
from services.gateway.routes import Match, Route, RouteTable
from services.gateway.uploads import Uploads

_READS_QUERY = frozenset({"GET", "HEAD"})
# Where there is a body, it counts: MLflow's client sends one, that of Databricks a query string.
_READS_BODY_OR_QUERY = frozenset({"DELETE"})
_NEEDS_CONTENT_TYPE = frozenset({"POST", "PUT"})


class Transcoder:
    """Answers requests that have a route by calling the route's RPC."""

    def __init__(self, table: RouteTable, connections: Connections) -> None:
        self._bodies = Bodies()
        self._calls = {route: _callable(route, connections) for route in table.routes if not route.takes_bytes}
        self._watches = Watches()
        self._repeats = calls.Repeats()
        self._uploads = Uploads(table, connections, self._bodies)

    async def answer(self, match: Match, request: Request, incoming: Incoming) -> Reply | StreamedReply:
        """Return the answer of a unary method, or of a stream once its first message has come.

        Raises ServiceError or ClientGone.
        """
        request.check_size()
        if match.route.takes_bytes:
            return await self._uploads.answer(match, request, incoming)
        if request.method in _NEEDS_CONTENT_TYPE:
            request.check_content_type()
        async with self._body(request, incoming) as body:
            return await self._answer(match.route, _message(match, request, body), request, incoming)

    def end_watches(self) -> None:
        """End the answers that have no end of their own."""
        self._watches.end()

    async def _answer(
        self, route: Route, message: Message, request: Request, incoming: Incoming
    ) -> Reply | StreamedReply:
        encoder = route.encoder
        if encoder is None:
            return await download(self._call(route, message, request, limits.TRANSFER_TIMEOUT_S), request, incoming)
        if isinstance(encoder, EventEncoder):
            call = self._call(route, message, request, limits.WATCH_TIMEOUT_S)
            return await self._watches.answer(call, incoming, encoder)
        if isinstance(encoder, StreamEncoder):
            call = self._call(route, message, request, limits.STREAM_TIMEOUT_S)
            return await _streamed(call, incoming, encoder.splice())
        return await self._answer_whole(route, message, request, incoming)

    async def _answer_whole(self, route: Route, message: Message, request: Request, incoming: Incoming) -> Reply:
        """Make a unary call and, if its connection breaks, another one where that is harmless."""
        encoder = route.encoder
        assert isinstance(encoder, ResponseEncoder)
        until = time.monotonic() + request.timeout_s(limits.CALL_TIMEOUT_S)
        try:
            reply = await _whole(self._call(route, message, request, limits.CALL_TIMEOUT_S), incoming, encoder)
        except errors.Unanswered:
            left_s = until - time.monotonic()
            if left_s <= 0 or not may_repeat(dialect.retry(route.method), message) or not self._repeats.take():
                raise
            return await _whole(self._call(route, message, request, left_s), incoming, encoder)
        except ServiceError:
            self._repeats.give()
            raise
        self._repeats.give()
        return reply

    def _body(self, request: Request, incoming: Incoming) -> contextlib.AbstractAsyncContextManager[bytes]:
        if not request.has_body or _asks_by_query(request):
            return contextlib.nullcontext(b"")
        return self._bodies.receive(incoming, request.content_length)

    def _call(self, route: Route, message: Message, request: Request, timeout_s: float) -> Any:
        return self._calls[route](
            message.SerializeToString(), timeout=request.timeout_s(timeout_s), metadata=calls.metadata(request)
        )


def _callable(route: Route, connections: Connections) -> Callable[..., Any]:
    connection = connections[route.backend]
    if route.is_watch:
        return connection.watch(route.rpc)
    return connection.stream(route.rpc) if route.method.server_streaming else connection.unary(route.rpc)


def _asks_by_query(request: Request) -> bool:
    return request.method in _READS_QUERY and bool(request.query)


def _message(match: Match, request: Request, body: bytes) -> Message:
    decoder = match.route.decoder
    texts = {**match.variables, **decoder.texts_of(request.headers)}
    if _asks_by_query(request) or (not body and request.method in _READS_BODY_OR_QUERY and request.query):
        return decoder.from_query(request.query, texts)
    return decoder.from_json(body, texts)


async def _whole(call: Any, incoming: Incoming, encoder: ResponseEncoder) -> Reply:
    with calls.cancelled_when_gone(call, incoming), calls.translated():
        return Reply(body=encoder.to_json(await call))


async def _streamed(call: Any, incoming: Incoming, splice: Splice) -> StreamedReply:
    with calls.cancelled_when_gone(call, incoming), calls.translated():
        first = await _next(call, splice)
    return StreamedReply(pieces=_pieces(call, incoming, splice, first))


async def _pieces(call: Any, incoming: Incoming, splice: Splice, piece: bytes | None) -> AsyncGenerator[bytes, None]:
    with calls.cancelled_when_gone(call, incoming):
        while piece is not None:
            yield piece
            try:
                with calls.translated():
                    piece = await _next(call, splice)
            except ServiceError as error:
                raise StreamBroken(error.reason) from error
        yield splice.end()


async def _next(call: Any, splice: Splice) -> bytes | None:
    message = await call.read()
    return None if message is grpc.aio.EOF else splice.add(message)
