"""Receives request bodies within their bounds on size, on time, and on the memory of all of them together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from starlette.types import Receive

from services.common.errors import ResourceExhausted
from services.gateway import limits
from services.gateway.errors import BodyTooLarge, BodyTooSlow


class ClientGone(Exception):
    """The client closed its connection before it was answered."""


class Bodies:
    """Receives bodies and counts the bytes of those that are held."""

    def __init__(self) -> None:
        self._held_bytes = 0

    @contextlib.asynccontextmanager
    async def receive(self, receive: Receive, headers: Mapping[bytes, bytes]) -> AsyncIterator[bytes]:
        """Hold a request's whole body for the length of the block.

        Raises BodyTooLarge, BodyTooSlow, ResourceExhausted or ClientGone.
        """
        if _declared_length(headers) > limits.BODY_BYTES_MAX:
            raise _too_large()
        parts: list[bytes] = []
        try:
            await self._fill_in_time(parts, receive)
            yield parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            self._held_bytes -= sum(map(len, parts))

    async def _fill_in_time(self, parts: list[bytes], receive: Receive) -> None:
        try:
            async with asyncio.timeout(limits.RECEIVE_TIMEOUT_S):
                await self._fill(parts, receive)
        except TimeoutError:
            raise BodyTooSlow(f"The request body did not arrive within {limits.RECEIVE_TIMEOUT_S:.0f} s.") from None

    async def _fill(self, parts: list[bytes], receive: Receive) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size > limits.BODY_BYTES_MAX:
                raise _too_large()
            if self._held_bytes + len(part) > limits.BODIES_BYTES_MAX:
                raise ResourceExhausted(
                    f"The bodies of requests under way exceed {limits.BODIES_BYTES_MAX} bytes; try again.",
                    retry_after_s=limits.OVERLOAD_RETRY_AFTER_S,
                )
            self._held_bytes += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                return


def _declared_length(headers: Mapping[bytes, bytes]) -> int:
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"The request body exceeds {limits.BODY_BYTES_MAX} bytes.")
