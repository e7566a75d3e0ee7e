"""What a kind of store elsewhere implements: files by path, in calls that block. `ExternalTree` makes a tree of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from services.artifacts.trees import Entry, Segments
from services.common.errors import InvalidArgument

# Names of files that are not whole yet. They are not listed, and clients cannot name them.
RESERVED_PREFIX = ".modelstead-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """A file: its bytes, its etag, and `version`, which differs when another file has come to its path."""

    size: int
    etag: str
    version: object


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedUrl:
    """A URL that lets its holder read or write one file for a while, and the headers to send with it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Replaced(Exception):
    """The file that was to be read is not the one that is there now."""


class CannotSign(Exception):
    """The store has no URLs that carry their own permission, or the server lacks the key to make them."""


class Reader(Protocol):
    """One version of a file, open for reading."""

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes from `offset` on, fewer than `length` only at the end of the file."""

    def check(self) -> None:
        """Raises Replaced if what was read may have come from two versions."""

    def close(self) -> None:
        """Release what was held. Called once."""


class Sink(Protocol):
    """A file on its way in, seen by nobody before it is committed."""

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def commit(self) -> None:
        """Put the file, durable and whole, at its path, over an older one."""

    def abort(self) -> None:
        """Remove what was written, if it is not committed."""


class Files(Protocol):
    """The files of one store. Paths begin at its root and are safe to join."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What any method raises when the store is away or does not work."""

    def list(self, path: Segments) -> list[Entry]:
        """Return what is directly in a folder, in any order; nothing if there is none."""

    def stat(self, path: Segments) -> Stat | None:
        """Return a file; None if there is none."""

    def reader(self, path: Segments, stat: Stat) -> Reader:
        """Open a file as `stat` found it. Raises Replaced."""

    def create(self, path: Segments) -> Sink:
        """Begin a file. Raises InvalidArgument if a folder is at the path or a file above it."""

    def delete(self, path: Segments) -> int:
        """Delete a file or a folder with all in it, and return how many files that were."""

    def sign(self, path: Segments, *, expires_s: int, for_upload: bool) -> SignedUrl:
        """Raises CannotSign."""

    def close(self) -> None:
        """Close connections."""


def blocked(path: Segments) -> InvalidArgument:
    """Return the error for a path at which no file can be."""
    return InvalidArgument(
        f"'{'/'.join(path)}' cannot be a file: a folder is there, or a file where it needs a folder."
    )
