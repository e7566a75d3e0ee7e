"""The gateway's own REST API, as the console's pages call it: in process, by route, with the viewer's credentials.

A page can therefore do nothing that the API does not allow its viewer.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.types import Message, Receive

from services.common.errors import ServiceError
from services.gateway import errors, limits
from services.gateway.bodies import Incoming
from services.gateway.replies import StreamedReply
from services.gateway.requests import Request
from services.gateway.routes import RouteTable
from services.gateway.transcoding import Transcoder

_ROOT = "/api/2.0/mlflow/"
_READS_QUERY = frozenset({"GET", "DELETE"})
# Kept from the browser's request for the call; its credentials come by the name of `authorization`.
_PASSED_ON = (b"authorization", b"traceparent", b"tracestate")


class ApiError(Exception):
    """The API refused a call: the HTTP status, MLflow's `error_code`, and what it says."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Api:
    """Answers calls as the gateway would answer the same requests over HTTP."""

    def __init__(self, table: RouteTable, transcoder: Transcoder) -> None:
        self._table = table
        self._transcoder = transcoder

    async def call(self, request: Request, verb: str, path: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON object that the API answers, on behalf of who sent `request`.

        `path` is below `/api/2.0/mlflow/`, or absolute. Values that are None are left out. Raises ApiError.
        """
        path = path if path.startswith("/") else _ROOT + path
        match = self._table.match(verb, path)
        assert match is not None, f"{verb} {path} is no route of the API"
        body, query = _encoded(verb, values)
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers |= {
            b"content-type": b"application/json",
            b"content-length": b"%d" % len(body),
            b"x-request-timeout-ms": b"%d" % (limits.CONSOLE_CALL_TIMEOUT_S * 1000),
        }
        inner = Request(method=verb, path=path, query=query, headers=headers, request_id=request.request_id)
        try:
            incoming = Incoming(_received(body), caller=inner.authorization or "")
            reply = await self._transcoder.answer(match, inner, incoming)
            if isinstance(reply, StreamedReply):
                return _object(b"".join([bytes(piece) async for piece in reply.pieces]))
            return _object(reply.body)
        except ServiceError as error:
            raise ApiError(errors.reply_of(error).status, error.reason, error.message) from error


def _encoded(verb: str, values: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return the body and the query string of a request with these values."""
    given = {name: value for name, value in values.items() if value is not None}
    if verb not in _READS_QUERY:
        return orjson.dumps(given), b""
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
    return b"", urlencode(texts, doseq=True).encode()


def _object(body: bytes) -> dict[str, Any]:
    answer = orjson.loads(body)
    assert isinstance(answer, dict)
    return answer


def _received(body: bytes) -> Receive:
    """Return an ASGI `receive` that tells of a body and then, as of a client that waits, of nothing."""
    pending: list[Message] = [{"type": "http.request", "body": body}]

    async def receive() -> Message:
        if not pending:
            await asyncio.get_running_loop().create_future()
        return pending.pop()

    return receive
