"""Receives request bodies within their bounds on size, on time, and on the memory of all of them together."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from starlette.types import Message, Receive

from services.common.rpc.wire import Bytes
from services.gateway import limits
from services.gateway.errors import BodyTooLarge, BodyTooSlow, overloaded


class ClientGone(Exception):
    """The client closed its connection before it was answered."""


class Incoming:
    """What follows a request's head, event by event; `is_over` once no more of it will come.

    `caller` is whoever sends it: by name or, as long as that is not known, by credentials.
    """

    def __init__(self, receive: Receive, *, caller: str) -> None:
        self._receive = receive
        self.caller = caller
        self.is_over = False

    async def __call__(self) -> Message:
        """Return the next event, as ASGI's `receive`."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.is_over = True
        return message

    async def part(self) -> bytes:
        """Return what came next of the body. Raises ClientGone."""
        message = await self()
        if message["type"] != "http.request":
            raise ClientGone
        part: bytes = message.get("body", b"")
        return part

    async def linger(self) -> None:
        """Let go by what still comes, for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.LINGER_S):
                while not self.is_over:
                    await asyncio.wait_for(self(), limits.LINGER_SILENCE_S)


class Bodies:
    """Receives bodies and counts the bytes of those that are held, in all and of a caller, that none has all room."""

    def __init__(self) -> None:
        self._of_caller: Counter[str] = Counter()
        self._held_bytes = 0

    @contextlib.asynccontextmanager
    async def receive(self, incoming: Incoming, length: int | None) -> AsyncIterator[bytes]:
        """Hold a request's whole body, of `length` bytes if that is known, for the length of the block.

        Raises BodyTooLarge, BodyTooSlow, ResourceExhausted or ClientGone.
        """
        check_size(length or 0, limits.BODY_BYTES_MAX)
        parts: list[bytes] = []
        try:
            await self._fill_in_time(parts, incoming)
            yield parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self.release(sum(map(len, parts)), incoming.caller)

    def hold(self, size: int, caller: str) -> None:
        """Count bytes that are held from now on. Raises ResourceExhausted if there are too many."""
        if self._held_bytes + size > limits.BODIES_BYTES_MAX:
            raise overloaded(f"The bodies of requests under way exceed {limits.BODIES_BYTES_MAX} bytes")
        if self._of_caller[caller] + size > limits.BODIES_PER_CALLER_BYTES_MAX:
            raise overloaded(
                f"The bodies of a caller's requests under way exceed {limits.BODIES_PER_CALLER_BYTES_MAX} bytes"
            )
        self._held_bytes += size
        self._of_caller[caller] += size

    def release(self, size: int, caller: str) -> None:
        """Count bytes that are held no more."""
        self._held_bytes -= size
        self._of_caller[caller] -= size
        if not self._of_caller[caller]:
            del self._of_caller[caller]

    async def _fill_in_time(self, parts: list[bytes], incoming: Incoming) -> None:
        try:
            async with asyncio.timeout(limits.RECEIVE_TIMEOUT_S):
                await self._fill(parts, incoming)
        except TimeoutError:
            raise BodyTooSlow(f"The request body did not arrive within {limits.RECEIVE_TIMEOUT_S:.0f} s.") from None

    async def _fill(self, parts: list[bytes], incoming: Incoming) -> None:
        size = 0
        while not incoming.is_over:
            part = await incoming.part()
            size += len(part)
            check_size(size, limits.BODY_BYTES_MAX)
            self.hold(len(part), incoming.caller)
            parts.append(part)


class Pieces:
    """A body that is passed on as it comes. What was read is held until it is released."""

    def __init__(self, bodies: Bodies, incoming: Incoming) -> None:
        self._bodies = bodies
        self._incoming = incoming
        self._ahead: Bytes = b""
        self._size = self._held_bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether all has been read."""
        return self._incoming.is_over and not self._ahead

    async def read(self) -> list[Bytes]:
        """Return the next piece as the parts that it came in: 1 MiB, or less of what ends or comes slowly.

        Raises BodyTooLarge, BodyTooSlow, ResourceExhausted or ClientGone.
        """
        parts: list[Bytes] = []
        try:
            async with asyncio.timeout(limits.PIECE_TIMEOUT_S):
                await self._fill(parts)
        except TimeoutError:
            if sum(map(len, parts)) < limits.PIECE_BYTES_MIN:
                raise BodyTooSlow(
                    f"Less than {limits.PIECE_BYTES_MIN} bytes of the body came in {limits.PIECE_TIMEOUT_S:.0f} s."
                ) from None
        return parts

    def release(self) -> None:
        """Hold no longer what was read."""
        self._bodies.release(self._held_bytes, self._incoming.caller)
        self._held_bytes = 0

    async def _fill(self, parts: list[Bytes]) -> None:
        room = limits.PIECE_BYTES_MAX
        while room and not self.is_over:
            part = self._ahead or await self._receive()
            self._ahead = memoryview(part)[room:]
            if part:
                parts.append(part[:room])
                room -= len(parts[-1])

    async def _receive(self) -> bytes:
        part = await self._incoming.part()
        self._size += len(part)
        check_size(self._size, limits.TRANSFER_BYTES_MAX)
        self._bodies.hold(len(part), self._incoming.caller)
        self._held_bytes += len(part)
        return part


def check_size(size: int, size_max: int) -> None:
    """Raise BodyTooLarge if a body has more than so many bytes."""
    if size > size_max:
        raise BodyTooLarge(f"The request body exceeds {size_max} bytes.")
