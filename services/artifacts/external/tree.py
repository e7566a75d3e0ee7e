"""A store elsewhere as a tree: its blocking calls run in a few threads of its own, in bounded time."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar, TypeVarTuple

from services.artifacts.external.calls import CALL_TIMEOUT_S, Calls
from services.artifacts.external.files import RESERVED_PREFIX, CannotSign, Files, Reader, SignedUrl, Sink, Stat
from services.artifacts.trees import CHUNK_BYTES_MAX, Entry, Segments
from services.common.errors import DataLoss, InvalidArgument, NotImplemented_, Unavailable
from services.common.rpc.wire import Bytes

# Completing an upload of many parts takes an object store a while.
COMMIT_TIMEOUT_S = 60.0
DEPTH_MAX = 64
NAME_BYTES_MAX = 255
PATH_BYTES_MAX = 900

_T = TypeVar("_T")
_A = TypeVarTuple("_A")


class ExternalTree:
    """The tree below the root of a store. `name` is what its operator calls it.

    At most `calls_max` calls reach the store at once, and `transfers_max` files are read or written; others wait.
    """

    def __init__(self, name: str, files: Files, *, calls_max: int, transfers_max: int) -> None:
        self._name = name
        self._files = files
        self._calls = Calls(name, failures=files.failures, at_once_max=calls_max)
        self._transfers = asyncio.Semaphore(transfers_max)

    async def list(self, path: Segments) -> list[Entry]:
        """Return what is directly in a folder, by name; nothing if there is none."""
        _check(path)
        entries = await self._calls.run(self._files.list, path)
        shown = (entry for entry in entries if not entry.name.startswith(RESERVED_PREFIX))
        return sorted(shown, key=lambda entry: entry.name)

    async def has(self, path: Segments) -> bool:
        """Return whether a file is at the path, or a folder with something in it."""
        return await self.open(path) is not None or bool(await self.list(path))

    async def open(self, path: Segments) -> "ExternalFile | None":
        """Return the file at a path; None if there is none."""
        _check(path)
        stat = await self._calls.run(self._files.stat, path)
        return None if stat is None else ExternalFile(self, path, stat)

    async def write(self, path: Segments, chunks: AsyncIterator[Bytes], *, size: int | None) -> None:
        """Store a file, whole or not at all. Raises InvalidArgument, Unavailable, and whatever `chunks` raises."""
        _check(path)
        if not path:
            raise InvalidArgument("A file needs a name.")
        async with self._transfer():
            sink = await self._calls.acquire(self._files.create, path, release=lambda late: late.abort())
            turns = _Turns()
            try:
                await self._fill(sink, turns, chunks, size=size)
                await self._calls.run(turns.take, sink.commit, timeout_s=COMMIT_TIMEOUT_S)
            except BaseException:
                await asyncio.shield(self._calls.run(turns.take, sink.abort, timeout_s=COMMIT_TIMEOUT_S))
                raise

    async def delete(self, path: Segments) -> int:
        """Delete a file, or a folder with all in it, and return how many files that were."""
        _check(path)
        # It takes as long as it takes; a caller who cannot wait comes again.
        return await self._calls.run(self._files.delete, path, timeout_s=None)

    async def sign(self, path: Segments, *, expires_s: int, for_upload: bool) -> SignedUrl:
        """Return a URL to write or read a file, existing or not. Raises NotImplemented_."""
        _check(path)
        try:
            return await self._calls.run(lambda: self._files.sign(path, expires_s=expires_s, for_upload=for_upload))
        except CannotSign as error:
            transfer = "upload" if for_upload else "download"
            text = f"Presigned {transfer} is not supported for the current artifact repository"
            raise NotImplemented_(text) from error

    async def close(self) -> None:
        """Close connections; calls under way are not waited for."""
        self._calls.close()
        await asyncio.to_thread(self._files.close)

    async def read(self, path: Segments, stat: Stat, *, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield bytes of a file as `stat` found it. Raises Unavailable, DataLoss."""
        async with self._transfer():
            reader = await self._calls.acquire(self._files.reader, path, stat, release=lambda late: late.close())
            turns = _Turns()
            try:
                async for chunk in self._chunks(reader, turns, start, start + length):
                    yield chunk
            finally:
                await asyncio.shield(self._calls.run(turns.take, reader.close))

    async def _chunks(self, reader: Reader, turns: "_Turns", start: int, end: int) -> AsyncIterator[bytes]:
        for offset in range(start, end, CHUNK_BYTES_MAX):
            wanted = min(CHUNK_BYTES_MAX, end - offset)
            chunk = await self._calls.run(turns.take, reader.read, offset, wanted)
            if len(chunk) != wanted:
                raise DataLoss(f"A file in the artifact store '{self._name}' is shorter than it was said to be.")
            if offset + wanted == end:
                await self._calls.run(turns.take, reader.check)
            yield chunk

    async def _fill(self, sink: Sink, turns: "_Turns", chunks: AsyncIterator[Bytes], *, size: int | None) -> None:
        sent = 0
        async for chunk in chunks:
            sent += len(chunk)
            if size is not None and sent > size:
                break
            await self._calls.run(turns.take, sink.write, bytes(chunk))
        if size is not None and sent != size:
            raise InvalidArgument(
                f"The file was said to have {size} bytes, and {'more' if sent > size else sent} came."
            )

    @contextlib.asynccontextmanager
    async def _transfer(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._transfers.acquire()
        except TimeoutError:
            raise Unavailable(f"The artifact store '{self._name}' is busy; try again.", retry_after_s=1.0) from None
        try:
            yield
        finally:
            self._transfers.release()


class ExternalFile:
    """A file in a store elsewhere, as it was when it was opened."""

    def __init__(self, tree: ExternalTree, path: Segments, stat: Stat) -> None:
        self._tree = tree
        self._path = path
        self._stat = stat

    @property
    def size(self) -> int:
        return self._stat.size

    @property
    def etag(self) -> str:
        return self._stat.etag

    def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield bytes from `start` on. Raises Unavailable if another file has come to the path meanwhile, DataLoss."""
        return self._tree.read(self._path, self._stat, start=start, length=length)


class _Turns:
    """Keeps the calls of one open file apart: one that was given up goes on in its thread, and the next comes after."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def take(self, function: Callable[[*_A], _T], *arguments: *_A) -> _T:
        with self._lock:
            return function(*arguments)


def _check(path: Segments) -> None:
    """Raises InvalidArgument for a path that some kind of store cannot have."""
    if any(segment.startswith(RESERVED_PREFIX) for segment in path):
        raise InvalidArgument(f"Names that begin with '{RESERVED_PREFIX}' are reserved.")
    if len(path) > DEPTH_MAX:
        raise InvalidArgument(f"The path has more than {DEPTH_MAX} segments.")
    lengths = [len(segment.encode()) for segment in path]
    if max(lengths, default=0) > NAME_BYTES_MAX:
        raise InvalidArgument(f"A name in the path has more than {NAME_BYTES_MAX} bytes.")
    if sum(lengths) + len(lengths) > PATH_BYTES_MAX:
        raise InvalidArgument(f"The path has more than {PATH_BYTES_MAX} bytes.")
