"""The load client: HTTP/1.1 over kept connections, one request in flight on each, and nothing that is not needed.

A general client costs more than the servers measured here, and would be what is measured.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import httptools

from services.common.settings import Address

_SHOWN_BYTES_MAX = 500


class UnexpectedAnswer(Exception):
    """The server answered with another status than 200, with other content, or hung up."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, and how to write a request for it. Requests are plain bytes and may be sent any number of times."""

    address: Address

    def post(self, path: str, body: bytes) -> bytes:
        """Return a POST of a JSON body."""
        return self._head("POST", path, f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n") + body

    def put(self, path: str, body: bytes) -> bytes:
        """Return a PUT of a file."""
        return self._head("PUT", path, f"Content-Length: {len(body)}\r\n") + body

    def get(self, path: str) -> bytes:
        """Return a GET; `path` carries its query string."""
        return self._head("GET", path, "")

    @asynccontextmanager
    async def connections(self, count: int) -> AsyncIterator[list["Connection"]]:
        """Open `count` connections, and close them afterwards."""
        opened = [await self._connect() for _ in range(count)]
        try:
            yield opened
        finally:
            for connection in opened:
                connection.close()

    async def _connect(self) -> "Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self.address.host, self.address.port)
        return connection

    def _head(self, method: str, path: str, fields: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: {self.address}\r\n{fields}\r\n".encode("ascii")


class Connection(asyncio.Protocol):
    """A kept connection. The parser calls the `on_` methods."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._parts: list[bytes] = []

    async def send(self, request: bytes) -> bytes:
        """Send a request and return the body of its answer. Raises UnexpectedAnswer."""
        assert self._transport is not None, "not connected"
        assert self._answer is None, "a request is in flight"
        if self._transport.is_closing():
            raise UnexpectedAnswer("The server has closed the connection.")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by inheritance.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"Not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"The server hung up: {exc or 'no reason given'}.")

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        body = b"".join(self._parts)
        self._parts.clear()
        status = self._parser.get_status_code()
        if status != 200:
            self._fail(f"Status {status}: {body[:_SHOWN_BYTES_MAX].decode('utf-8', 'replace')}")
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(body)

    def _fail(self, text: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(UnexpectedAnswer(text))
