"""Hashes of bytes that pass by, made in other threads meanwhile."""

import asyncio
import hashlib

Piece = bytes | memoryview

# Hashing less than this is quicker than another thread's taking it over.
_INLINE_BYTES_MAX = 16 * 1024


class Hash:
    """One hash. While it takes in bytes, whoever brought them goes on with them, and waits with the next ones."""

    def __init__(self, algorithm: str) -> None:
        """`algorithm` is as hashlib names it."""
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._running: asyncio.Future[None] | None = None

    async def update(self, piece: Piece) -> None:
        """Begin to take in the next bytes, once those before are."""
        await self._settle()
        if len(piece) <= _INLINE_BYTES_MAX:
            self._hash.update(piece)
        else:
            self._running = asyncio.get_running_loop().run_in_executor(None, self._hash.update, piece)

    async def hexdigest(self) -> str:
        """Return the hash of all that was brought."""
        await self._settle()
        return self._hash.hexdigest()

    async def _settle(self) -> None:
        if self._running is not None:
            await self._running
            self._running = None
