"""Stores a stream of bytes as one object, in one piece or in parts, and believes the store only what it can check."""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from services.artifacts import bounds
from services.artifacts.bounds import PART_BYTES_MIN, PARTS_MAX, PIECE_BYTES_MAX
from services.artifacts.hashing import Hashes
from services.artifacts.objects import Objects, Stat, composite_etag
from services.artifacts.trees import CHUNK_BYTES_MAX
from services.common.errors import DataLoss, InvalidArgument
from services.common.rpc.wire import Bytes

# Parts of a size known beforehand cost no memory, so they may be large.
_LARGE_PART_BYTES = 64 * 1024**2
# Other ETags tell nothing of the contents, such as those of a store that encrypts with keys of its own.
_MD5 = re.compile(r"[0-9a-f]{32}")
_MD5_OF_PARTS = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")
_UNKNOWN = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What was stored: bytes, and their SHA-256 in hexadecimal."""

    size: int
    sha256: str


async def store(objects: Objects, key: str, chunks: AsyncIterator[Bytes], *, size: int | None) -> Stored:
    """Store what `chunks` yields, and return it once the object store has shown that it has it.

    `size` is how many bytes will come, if that is known; else parts of 5 MiB are gathered in memory, one at a time.
    Raises InvalidArgument if other than `size` bytes come or more than can be stored, DataLoss if the store has other
    bytes than were sent, Unavailable, and whatever `chunks` raises.
    """
    bounds.check_size(size)
    feed = _Feed(chunks)
    if size is not None and size <= CHUNK_BYTES_MAX:
        etag, stat = await _put_small(objects, key, feed, size)
    else:
        etag = await _store_large(objects, key, feed, size)
        await feed.expect_end()
        stat = await objects.stat(key)
    if stat is None or stat.size != feed.size or not _agree(stat.etag, etag):
        raise DataLoss(f"The object store has not kept the {feed.size} bytes that it was sent; send them again.")
    return Stored(size=feed.size, sha256=await feed.hashes.sha256())


async def is_whole(objects: Objects, key: str, stored: Stored) -> bool:
    """Whether an object is, read to its end, equal to what was stored. Raises Unavailable."""
    stat = await objects.stat(key)
    try:
        return (
            stat is not None
            and stat.size == stored.size
            and await read_sha256(objects, key, size=stored.size) == stored.sha256
        )
    except DataLoss:
        return False


async def read_sha256(objects: Objects, key: str, *, size: int) -> str:
    """Read an object to its end and return its hash. Raises DataLoss, Unavailable."""
    hashed = hashlib.sha256()
    if size:
        async for _ in objects.read(key, 0, size, size=size, on_chunk=hashed.update):
            pass
    return hashed.hexdigest()


def is_made_of(etag: str, parts: Sequence[str]) -> bool:
    """Whether an object with this ETag can have been made of parts with these."""
    return not all(map(_MD5.fullmatch, parts)) or _agree(etag, composite_etag(parts))


class _Feed:
    """The bytes of a file as they come, hashed, and cut where parts end."""

    def __init__(self, chunks: AsyncIterator[Bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")
        self.size = 0
        self.hashes = Hashes()

    async def next(self, limit: int) -> memoryview:
        """Return the next bytes, at most `limit` of them; none at the end."""
        while not self._rest:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                return self._rest
            self._rest = memoryview(chunk)
        piece, self._rest = self._rest[:limit], self._rest[limit:]
        self.size += len(piece)
        return piece

    async def gather(self, limit: int) -> list[Bytes]:
        """Return the next `limit` bytes, or as many as there are, in pieces."""
        pieces: list[Bytes] = []
        missing = limit
        while missing and (piece := await self.next(missing)):
            await self.hashes.update(piece)
            pieces.append(piece)
            missing -= len(piece)
        return pieces

    async def take(self, length: int) -> AsyncIterator[Bytes]:
        """Yield exactly the next `length` bytes. Raises InvalidArgument if there are not so many."""
        missing = length
        while missing:
            piece = await self.next(missing)
            if not piece:
                raise InvalidArgument(f"The contents ended after {self.size} bytes, where more were announced.")
            await self.hashes.update(piece)
            yield piece
            missing -= len(piece)

    async def expect_end(self) -> None:
        """Raises InvalidArgument if more bytes come."""
        announced = self.size
        if await self.next(1):
            raise InvalidArgument(f"More bytes came than the {announced} that were announced.")


async def _put_small(objects: Objects, key: str, feed: _Feed, size: int) -> tuple[str, Stat | None]:
    """Store the whole feed, which is held in memory, and return the ETag that it must have and what became of it."""
    pieces = [piece async for piece in feed.take(size)]
    await feed.expect_end()
    answered, stat = await objects.put_small(key, pieces)
    return _believe(answered, await feed.hashes.end_part()), stat


async def _store_large(objects: Objects, key: str, feed: _Feed, size: int | None) -> str:
    if size is None:
        return await _store_unknown(objects, key, feed)
    if size > PIECE_BYTES_MAX:
        return await _store_parts(objects, key, feed, size)
    return await _put(objects, key, feed, size)


async def _put(objects: Objects, key: str, feed: _Feed, size: int) -> str:
    """Store the whole feed in one piece and return the ETag that it must have."""
    answered = await objects.put(key, feed.take(size), size=size)
    return _believe(answered, await feed.hashes.end_part())


async def _store_parts(objects: Objects, key: str, feed: _Feed, size: int) -> str:
    part_bytes = max(_LARGE_PART_BYTES, -(-size // PARTS_MAX))
    upload_id = await objects.create_multipart(key)
    etags: list[str] = []
    for start in range(0, size, part_bytes):
        length = min(part_bytes, size - start)
        answered = await objects.put_part(key, upload_id, len(etags) + 1, feed.take(length), size=length)
        etags.append(_believe(answered, await feed.hashes.end_part()))
    # Before the object exists, so that one that is too long never does.
    await feed.expect_end()
    return await _complete(objects, key, upload_id, etags)


async def _store_unknown(objects: Objects, key: str, feed: _Feed) -> str:
    pieces = await feed.gather(PART_BYTES_MIN)
    if feed.size < PART_BYTES_MIN:
        answered = await objects.put(key, _each(pieces), size=feed.size)
        return _believe(answered, await feed.hashes.end_part())
    upload_id = await objects.create_multipart(key)
    etags: list[str] = []
    while pieces:
        if len(etags) == PARTS_MAX:
            raise InvalidArgument(f"More than {feed.size} bytes can only be stored if their number is announced.")
        length = sum(map(len, pieces))
        answered = await objects.put_part(key, upload_id, len(etags) + 1, _each(pieces), size=length)
        etags.append(_believe(answered, await feed.hashes.end_part()))
        pieces = await feed.gather(PART_BYTES_MIN)
    return await _complete(objects, key, upload_id, etags)


async def _complete(objects: Objects, key: str, upload_id: str, etags: list[str]) -> str:
    await objects.complete_multipart(key, upload_id, list(enumerate(etags, 1)))
    return composite_etag(etags) if all(map(_MD5.fullmatch, etags)) else _UNKNOWN


async def _each(pieces: list[Bytes]) -> AsyncIterator[Bytes]:
    while pieces:
        yield pieces.pop(0)


def _believe(answered: str, md5: str) -> str:
    """Return the ETag of a piece or part. Raises DataLoss if the store answers that it has other bytes."""
    if not _agree(answered, md5):
        raise DataLoss("The object store has received other bytes than it was sent; send them again.")
    return answered


def _agree(etag: str, expected: str) -> bool:
    return etag == expected or not (_MD5_OF_PARTS.fullmatch(etag) and _MD5_OF_PARTS.fullmatch(expected))
