"""A bucket, or what is below a prefix of one, as a store, over the file systems that fsspec has for object stores.

What differs between them stands in s3.py, azure.py and gcs.py. Where fsspec takes more than a path, as a pattern or a
version, only the calls that take paths are used, and names that would still be read as a version are refused.
"""

import asyncio
import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec.asyn  # type: ignore[import-untyped]

from services.artifacts.external.files import Replaced, SignedUrl, Stat, blocked
from services.artifacts.trees import Entry, Segments
from services.common.errors import InvalidArgument

ANSWER_TIMEOUT_S = 20.0
# A file is sent in parts of this size, of which stores take 10,000 and more.
PART_BYTES = 8 * 1024 * 1024
# Asked for at once, as every request costs a round trip.
WINDOW_BYTES = 4 * 1024 * 1024
_DELETED_AT_ONCE = 32

Info = Mapping[str, Any]
# Takes fsspec's file system, a key, seconds, and whether the URL is to write to. Raises CannotSign.
Sign = Callable[[Any, str, int, bool], SignedUrl]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """What differs between fsspec's file systems: how to have them look anew, errors, etags, and signed URLs."""

    fresh: Mapping[str, Any]
    failures: tuple[type[Exception], ...]
    etag: Callable[[Info], str]
    sign: Sign
    # Whether an empty object named as the folder, with a slash, may stand for it; some S3 servers and tools make those.
    has_folder_marks: bool = False
    # Whether parts of a file that is not to be stay, and cost, until they are discarded; elsewhere they go in a week.
    keeps_parts: bool = False


class CloudFiles:
    """The files below `root`, which is `<bucket>` or `<bucket>/<prefix>`.

    `connect` makes fsspec's file system. It is called when that is first needed, as it may look for credentials.
    """

    def __init__(self, connect: Callable[[], Any], root: str, dialect: Dialect) -> None:
        self._connect = connect
        self._connected: Any = None
        self._connecting = threading.Lock()
        self._root = root
        self.dialect = dialect
        self.failures = (OSError, *dialect.failures)

    def list(self, path: Segments) -> list[Entry]:
        """Return what is directly in a folder, which exists as long as something is in it."""
        folder = self._key(path)
        return list(_entries(self._infos(folder), folder))

    def stat(self, path: Segments) -> Stat | None:
        """Return an object; None also for a folder."""
        return self._stat(self._key(path)) if path else None

    def reader(self, path: Segments, stat: Stat) -> "_Reader":
        """Open an object, which is asked for in ranges as they are read."""
        return _Reader(self, self._key(path), stat)

    def create(self, path: Segments) -> "_Sink":
        """Begin an object; the store shows it when it is committed."""
        above = (path[:depth] for depth in range(1, len(path)))
        if self.list(path) or any(self._stat(self._key(each)) for each in above):
            raise blocked(path)
        return _Sink(self, self._key(path))

    def delete(self, path: Segments) -> int:
        """Delete an object and all below it."""
        key = self._key(path)
        count = self._delete([key]) if path and self._stat(key) else 0
        return count + self._empty(key)

    def sign(self, path: Segments, *, expires_s: int, for_upload: bool) -> SignedUrl:
        """Return a URL that its holder may use for a while. Raises CannotSign."""
        return self.dialect.sign(self._fs, self._key(path), expires_s, for_upload)

    def close(self) -> None:
        return

    def fetch(self, key: str, start: int, end: int) -> bytes:
        """Return a range of an object; `end` is exclusive."""
        data: bytes = self._fs.cat_file(key, start=start, end=end, timeout=ANSWER_TIMEOUT_S)
        return data

    def begin(self, key: str) -> Any:
        """Return fsspec's file to write an object to."""
        return self._fs.open(key, "wb", block_size=PART_BYTES)

    def version(self, key: str) -> tuple[int, str] | None:
        """Return the size and etag of an object; None if there is none."""
        try:
            info = self._fs.info(key, timeout=ANSWER_TIMEOUT_S)
        except FileNotFoundError:
            return None
        return (info["size"], self.dialect.etag(info)) if info["type"] == "file" else None

    @property
    def _fs(self) -> Any:
        with self._connecting:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _stat(self, key: str) -> Stat | None:
        version = self.version(key)
        return None if version is None else Stat(size=version[0], etag=version[1], version=version)

    def _infos(self, folder: str) -> Sequence[Info]:
        try:
            found: Sequence[Info] = self._fs.ls(folder, detail=True, timeout=ANSWER_TIMEOUT_S, **self.dialect.fresh)
        except FileNotFoundError:
            return []
        return found

    def _key(self, path: Segments) -> str:
        if any("?" in segment or "#" in segment for segment in path):
            raise InvalidArgument("Names in this artifact store cannot hold '?' or '#'.")
        return "/".join((self._root, *path))

    def _empty(self, folder: str) -> int:
        entries = tuple(_entries(self._infos(folder), folder))
        files = [f"{folder}/{entry.name}" for entry in entries if not entry.is_dir]
        steps = range(0, len(files), _DELETED_AT_ONCE)
        count = sum(self._delete(files[start : start + _DELETED_AT_ONCE]) for start in steps)
        count += sum(self._empty(f"{folder}/{entry.name}") for entry in entries if entry.is_dir)
        if entries and self.dialect.has_folder_marks:
            self._delete([f"{folder}/"])
        return count

    def _delete(self, keys: Sequence[str]) -> int:
        deleted: int = fsspec.asyn.sync(self._fs.loop, self._delete_at_once, keys, timeout=ANSWER_TIMEOUT_S)
        return deleted

    async def _delete_at_once(self, keys: Sequence[str]) -> int:
        # Not `_rm`, which takes names with `*` or `[` for patterns.
        return sum(await asyncio.gather(*[self._delete_one(key) for key in keys]))

    async def _delete_one(self, key: str) -> int:
        try:
            await self._fs._rm_file(key)
        except FileNotFoundError:
            return 0
        return 1


class _Reader:
    def __init__(self, files: CloudFiles, key: str, stat: Stat) -> None:
        self._files = files
        self._key = key
        self._stat = stat
        self._window = b""
        self._window_start = 0

    def read(self, offset: int, length: int) -> bytes:
        at = offset - self._window_start
        if not 0 <= at <= at + length <= len(self._window):
            end = min(self._stat.size, offset + max(length, WINDOW_BYTES))
            self._window = self._files.fetch(self._key, offset, end)
            self._window_start, at = offset, 0
        return self._window[at : at + length]

    def check(self) -> None:
        # A range cannot be asked of one version through fsspec: so afterwards it is asked whether there was one only.
        if self._files.version(self._key) != self._stat.version:
            raise Replaced

    def close(self) -> None:
        self._window = b""


class _Sink:
    def __init__(self, files: CloudFiles, key: str) -> None:
        self._files = files
        self._key = key
        self._size = 0
        self._file = files.begin(key)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    def commit(self) -> None:
        self._file.close()
        stored = self._files.version(self._key)
        if stored is None or stored[0] != self._size:
            raise OSError(errno.EIO, "the store has not kept all that was written")

    def abort(self) -> None:
        if self._file.closed:
            return
        # Closed by hand first: fsspec's own `close`, which also a collected file calls, commits what is there.
        self._file.closed = True
        if self._files.dialect.keeps_parts:
            self._file.discard()


def _entries(infos: Iterable[Info], folder: str) -> Iterator[Entry]:
    return (entry for entry in (_entry(info, folder) for info in infos) if entry is not None)


def _entry(info: Info, folder: str) -> Entry | None:
    """Return what stands in a folder; None for the folder itself, which some tools keep as an empty object."""
    name = info["name"].rstrip("/").removeprefix(f"{folder}/")
    if not name or "/" in name or info["name"].rstrip("/") == folder:
        return None
    return Entry(name=name, size=None if info["type"] == "directory" else info["size"])
