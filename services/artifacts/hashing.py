"""Hashes of bytes that pass by, made in another thread meanwhile."""

import asyncio
import hashlib

from services.common.rpc.wire import Bytes

# Hashing less than this is quicker than another thread's taking it over.
_INLINE_BYTES_MAX = 16 * 1024


class Hashes:
    """The SHA-256 of all that passes, and the MD5 of each part of it.

    While they take in bytes, whoever brought them goes on with them, and waits with the next ones.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = _md5()
        self._running: asyncio.Future[None] | None = None

    async def update(self, piece: Bytes) -> None:
        """Begin to take in the next bytes, once those before are."""
        await self._settle()
        if len(piece) <= _INLINE_BYTES_MAX:
            self._take(piece)
        else:
            self._running = asyncio.get_running_loop().run_in_executor(None, self._take, piece)

    async def end_part(self) -> str:
        """Return the MD5 of the bytes since the last part, in hexadecimal."""
        await self._settle()
        md5, self._md5 = self._md5, _md5()
        return md5.hexdigest()

    async def sha256(self) -> str:
        """Return the hash of all that was brought, in hexadecimal."""
        await self._settle()
        return self._sha256.hexdigest()

    def _take(self, piece: Bytes) -> None:
        self._sha256.update(piece)
        self._md5.update(piece)

    async def _settle(self) -> None:
        if self._running is not None:
            await self._running
            self._running = None


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)
