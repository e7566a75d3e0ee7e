"""What every store of artifacts can do, be it this service's own or one elsewhere that the operator allows."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from services.common.rpc.wire import Bytes

# A path below the root of a tree, already parsed: no segment is empty, `.` or `..`, or holds a slash.
Segments = tuple[str, ...]

CHUNK_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What a folder holds: a file with its size in bytes, or a folder."""

    name: str
    size: int | None

    @property
    def is_dir(self) -> bool:
        return self.size is None


class OpenFile(Protocol):
    """A file whose contents stay the same while it is read, also when another one comes to its path."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def etag(self) -> str:
        """A text, without quotes, that no other contents at the path have."""

    def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield bytes from `start` on, in chunks of at most 1 MiB.

        Raises DataLoss before the last chunk of a whole file if it is not what was stored, Unavailable if the store is
        away.
        """


class Tree(Protocol):
    """Files by path. Every method raises Unavailable while the store is away."""

    async def list(self, path: Segments) -> list[Entry]:
        """Return what is directly in a folder, by name; nothing if there is none."""

    async def has(self, path: Segments) -> bool:
        """Return whether a file is at the path, or a folder with something in it."""

    async def open(self, path: Segments) -> OpenFile | None:
        """Return the file at a path; None if there is none."""

    async def write(self, path: Segments, chunks: AsyncIterator[Bytes], *, size: int | None) -> None:
        """Store a file, over an older one, whole or not at all; `size` is its bytes if they are known.

        Raises InvalidArgument if other than `size` bytes come, or if a folder is at the path or a file above it.
        """

    async def delete(self, path: Segments) -> int:
        """Delete a file, or a folder with all in it, and return how many files that were. Again does nothing."""
