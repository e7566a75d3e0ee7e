"""What a name leads to, and the rules of names that need no I/O."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.artifacts import paths
from services.common.errors import InvalidArgument

# Until callers have workspaces of their own.
DEFAULT_WORKSPACE = "default"
PAGE_SIZE_MAX = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A name and the contents it leads to; `sha256` is absent until contents sent directly were read once."""

    path: str
    size: int
    sha256: str | None
    create_time: datetime
    blob_id: int
    object_key: str

    @property
    def etag(self) -> str:
        """What no other contents of the workspace have."""
        return self.sha256 or f"blob-{self.blob_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """Why names cannot be given: at `path` there is a folder, or a file."""

    path: str
    is_folder: bool

    def concerns(self, name: str) -> bool:
        """Whether it keeps a path from being a file."""
        return name == self.path if self.is_folder else name.startswith(f"{self.path}/")

    @property
    def refusal(self) -> InvalidArgument:
        there, needed = ("folder", "file") if self.is_folder else ("file", "folder")
        return InvalidArgument(f"'{self.path}' is a {there} and cannot be a {needed} at once.")


def refuse(conflicts: Sequence[Conflict]) -> None:
    """Raises InvalidArgument if there are conflicts."""
    if conflicts:
        raise conflicts[0].refusal


def unrelated(names: Iterable[str]) -> list[bool]:
    """Return for each path whether it is neither one of those before that are, nor lies above or below one."""
    files: set[str] = set()
    folders: set[str] = set()
    found = []
    for name in names:
        above = paths.ancestors(name)
        is_unrelated = name not in files and name not in folders and files.isdisjoint(above)
        if is_unrelated:
            files.add(name)
            folders.update(above)
        found.append(is_unrelated)
    return found


def parse_sha256(text: str) -> str:
    """Return a hash as it is kept. Raises InvalidArgument."""
    digest = text.lower()
    if not _SHA256.fullmatch(digest):
        raise InvalidArgument("'sha256' must be 64 hexadecimal digits")
    return digest


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied: It must be at least 1 and at most "
            f"{PAGE_SIZE_MAX}"
        )
