"""An S3 that lies: a proxy in front of a real one, which changes what passes."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from tests.s3 import S3

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Message:
    """A request or an answer: its head, which ends with an empty line, and its body."""

    head: bytes
    body: bytes

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode()

    def with_body(self, body: bytes) -> "Message":
        """The message with another body, and with a head that fits it."""
        return Message(_LENGTH.sub(b"\r\ncontent-length: %d" % len(body), self.head), body)


Change = Callable[[Message], Awaitable[Message | None]]


async def honest(message: Message) -> Message:
    return message


@dataclass
class FaultyS3:
    """What happens to requests before the store sees them, and to answers before the client does.

    None ends the connection instead. An answer in place of a request's is returned by `forge`.
    """

    s3: S3
    change_request: Change = honest
    change_answer: Callable[[str, Message], Awaitable[Message | None]] | None = None
    forge: Callable[[Message], Message | None] = lambda request: None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            answer = await self._answer(await _read_request(reader))
            if answer is not None:
                writer.write(answer.head + answer.body)
                await writer.drain()
        writer.close()

    async def _answer(self, request: Message) -> Message | None:
        if forged := self.forge(request):
            return forged
        changed = await self.change_request(request)
        if changed is None:
            return None
        answer = await self._ask(changed)
        return await self.change_answer(request.method, answer) if self.change_answer else answer

    async def _ask(self, request: Message) -> Message:
        parts = urlsplit(self.s3.endpoint)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(request.head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + request.body)
            await writer.drain()
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        return Message(head + b"\r\n\r\n", body)


@contextlib.asynccontextmanager
async def in_front_of(s3: S3) -> AsyncIterator[tuple[FaultyS3, S3]]:
    """Run the proxy; what clients are to be told is the second."""
    faulty = FaultyS3(s3)
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield faulty, replace(s3, endpoint=f"http://{host}:{port}")
    finally:
        server.close()


def flip(body: bytes) -> bytes:
    """The body with one bit changed in its middle."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def stored_ok(request: Message) -> Message:
    """What an honest store answers to a PUT."""
    etag = hashlib.md5(request.body).hexdigest()
    return Message(f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\nContent-Length: 0\r\n\r\n'.encode(), b"")


async def _read_request(reader: asyncio.StreamReader) -> Message:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return Message(head, await reader.readexactly(int(length[1])) if length else b"")
