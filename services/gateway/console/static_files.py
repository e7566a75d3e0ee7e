"""The console's styles, scripts and icon, at addresses that change with what is in them, so that browsers keep them."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from services.gateway.replies import Header, Reply
from services.gateway.requests import Request

FOLDER = Path(__file__).parent / "static"
_FOREVER: Header = (b"cache-control", b"public, max-age=31536000, immutable")
# Of another release: a page that came from another replica asks for it.
_CHECKED: Header = (b"cache-control", b"no-cache")
GZIP: Header = (b"content-encoding", b"gzip")
_VARY: Header = (b"vary", b"accept-encoding")


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    media_type: bytes
    contents: bytes
    compressed: bytes


class StaticFiles:
    """All files below a folder, read when the first of them is asked for. Scripts import each other by relative paths,
    which works as one hash stands before the paths of all.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def address(self, name: str) -> str:
        """Return the path below `/console/` of a file, by its path in the folder."""
        assert name in self._files, name
        return f"static/{self._hash}/{name}"

    def reply(self, version: str, name: str, request: Request) -> Reply | None:
        """Return the answer with a file; None if there is none."""
        file = self._files.get(name)
        if file is None:
            return None
        headers = (_FOREVER if version == self._hash else _CHECKED, _VARY)
        if accepts_gzip(request):
            return Reply(body=file.compressed, media_type=file.media_type, headers=(*headers, GZIP))
        return Reply(body=file.contents, media_type=file.media_type, headers=headers)

    @cached_property
    def _files(self) -> dict[str, _File]:
        paths = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): _read(path) for path in paths}

    @cached_property
    def _hash(self) -> str:
        digest = hashlib.sha256()
        for name, file in self._files.items():
            digest.update(b"%b %d " % (name.encode(), len(file.contents)))
            digest.update(file.contents)
        return digest.hexdigest()[:12]


def accepts_gzip(request: Request) -> bool:
    """Whether an answer may be compressed."""
    return "gzip" in (request.header(b"accept-encoding") or "")


def _read(path: Path) -> _File:
    contents = path.read_bytes()
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if media_type.startswith("text/") else ""
    return _File(
        media_type=f"{media_type}{charset}".encode(),
        contents=contents,
        compressed=gzip.compress(contents, mtime=0),
    )
