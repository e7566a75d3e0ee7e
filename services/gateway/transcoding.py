"""One API request, from its body to its answer: decode, call the backend, encode."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message
from starlette.types import Receive

from services.common import telemetry
from services.common.errors import ServiceError
from services.gateway import errors, limits
from services.gateway.backends import Connections, Metadata
from services.gateway.bodies import Bodies, ClientGone
from services.gateway.encoding import ResponseEncoder, Splice, StreamEncoder
from services.gateway.replies import Reply, StreamedReply
from services.gateway.requests import Request
from services.gateway.routes import Match, Route, RouteTable

_READS_QUERY = frozenset({"GET"})
_NEEDS_CONTENT_TYPE = frozenset({"POST", "PUT"})
_IDEMPOTENCY_FIELD = "request_id"


class StreamBroken(Exception):
    """A stream failed after its answer had begun."""


class Transcoder:
    """Answers requests that have a route by calling the route's RPC."""

    def __init__(self, table: RouteTable, connections: Connections) -> None:
        self._bodies = Bodies()
        self._calls = {route: _callable(route, connections) for route in table.routes}

    async def answer(self, match: Match, request: Request, receive: Receive) -> Reply | StreamedReply:
        """Return the answer of a unary method, or of a stream once its first message has come.

        Raises ServiceError or ClientGone.
        """
        route = match.route
        request.check_size()
        if request.method in _NEEDS_CONTENT_TYPE:
            request.check_content_type()
        async with self._body(request, receive) as body:
            message = _message(match, request, body)
            if isinstance(route.encoder, StreamEncoder):
                call = self._call(route, message, request, timeout_s=limits.STREAM_TIMEOUT_S)
                return await _streamed(call, receive, route.encoder.splice())
            call = self._call(route, message, request, timeout_s=limits.CALL_TIMEOUT_S)
            return await _whole(call, receive, route.encoder)

    def _body(self, request: Request, receive: Receive) -> contextlib.AbstractAsyncContextManager[bytes]:
        if not request.has_body or _asks_by_query(request):
            return contextlib.nullcontext(b"")
        return self._bodies.receive(receive, request.headers)

    def _call(self, route: Route, message: Message, request: Request, *, timeout_s: float) -> Any:
        return self._calls[route](
            message.SerializeToString(), timeout=request.timeout_s(timeout_s), metadata=_metadata(request)
        )


def _callable(route: Route, connections: Connections) -> Callable[..., Any]:
    connection = connections[route.backend]
    return connection.stream(route.rpc) if route.method.server_streaming else connection.unary(route.rpc)


def _asks_by_query(request: Request) -> bool:
    return request.method in _READS_QUERY and bool(request.query)


def _message(match: Match, request: Request, body: bytes) -> Message:
    decoder = match.route.decoder
    texts = match.variables
    key = request.header(b"idempotency-key")
    if key and decoder.has(_IDEMPOTENCY_FIELD):
        texts = {**texts, _IDEMPOTENCY_FIELD: key}
    return decoder.from_query(request.query, texts) if _asks_by_query(request) else decoder.from_json(body, texts)


def _metadata(request: Request) -> Metadata:
    metadata = [("x-request-id", request.request_id), *telemetry.inject().items()]
    if request.authorization is not None:
        metadata.append(("authorization", request.authorization))
    return metadata


async def _whole(call: Any, receive: Receive, encoder: ResponseEncoder) -> Reply:
    with _cancelled_when_gone(call, receive), _translated():
        return Reply(body=encoder.to_json(await call))


async def _streamed(call: Any, receive: Receive, splice: Splice) -> StreamedReply:
    with _cancelled_when_gone(call, receive), _translated():
        first = await _next(call, splice)
    return StreamedReply(pieces=_pieces(call, receive, splice, first))


async def _pieces(call: Any, receive: Receive, splice: Splice, piece: bytes | None) -> AsyncGenerator[bytes, None]:
    with _cancelled_when_gone(call, receive):
        while piece is not None:
            yield piece
            try:
                with _translated():
                    piece = await _next(call, splice)
            except ServiceError as error:
                raise StreamBroken(error.reason) from error
        yield splice.end()


async def _next(call: Any, splice: Splice) -> bytes | None:
    message = await call.read()
    return None if message is grpc.aio.EOF else splice.add(message)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise errors.from_rpc(error) from error
    except DecodeError as error:
        raise errors.unexpected("backend sent no well-formed message") from error


@contextlib.contextmanager
def _cancelled_when_gone(call: Any, receive: Receive) -> Iterator[None]:
    """Cancel a call as soon as nobody waits for its answer. Raises ClientGone."""
    watcher = asyncio.ensure_future(_gone(receive))
    watcher.add_done_callback(lambda done: None if done.cancelled() else call.cancel())
    try:
        yield
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled():
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
