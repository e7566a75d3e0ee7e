"""Answers with the files of MLflow's web UI: as they were built, kept by browsers as long as is right, compressed."""

import asyncio
import gzip
import hashlib
import mimetypes
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from services.gateway import limits
from services.gateway.replies import Header, Reply
from services.gateway.requests import Request

ROOT = "/static-files/"
_INDEX = "index.html"
# Builds put a hash of a file's contents into its name.
_HASHED = re.compile(r"\.[0-9a-f]{8,20}\.")
_COMPRESSIBLE = re.compile(r"text/|image/svg|font/ttf|application/(javascript|json|vnd\.ms-fontobject)")

# What the pages need: styles in elements, as their components write them; images and workers that scripts make. Scripts
# come from files only, and none is made of text: one that is in an artifact which a page shows is not run.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
    "frame-src 'self' blob: data:; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
_SECURITY: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
)
_FOREVER: Header = (b"cache-control", b"public, max-age=31536000, immutable")
_CHECKED: Header = (b"cache-control", b"no-cache")
_VARY: Header = (b"vary", b"accept-encoding")
_GZIP: Header = (b"content-encoding", b"gzip")


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file of the build. `entity_tag` is None where the name tells what is in it."""

    path: Path
    media_type: str
    entity_tag: bytes | None

    async def reply(self, request: Request, compressed: "Compressed") -> Reply:
        """Return the answer to a GET or HEAD."""
        headers = (*_SECURITY, _VARY, _FOREVER if self.entity_tag is None else _CHECKED)
        if self.entity_tag is not None:
            headers += ((b"etag", self.entity_tag),)
            if self.entity_tag in request.headers.get(b"if-none-match", b""):
                return Reply(status=304, body=b"", media_type=self.media_type.encode(), headers=headers)
        if _COMPRESSIBLE.match(self.media_type) and "gzip" in (request.header(b"accept-encoding") or ""):
            body = await compressed.read(self.path)
            return Reply(body=body, media_type=self.media_type.encode(), headers=(*headers, _GZIP))
        body = await asyncio.to_thread(self.path.read_bytes)
        return Reply(body=body, media_type=self.media_type.encode(), headers=headers)


class Compressed:
    """Contents of files, compressed; those that were asked for last are kept, up to `bytes_max`."""

    def __init__(self, bytes_max: int = limits.UI_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held: OrderedDict[Path, bytes] = OrderedDict()
        self._under_way: dict[Path, asyncio.Task[bytes]] = {}

    async def read(self, path: Path) -> bytes:
        """Return a file's contents in gzip; those who ask at the same time share the work."""
        if path in self._held:
            self._held.move_to_end(path)
            return self._held[path]
        if path not in self._under_way:
            self._under_way[path] = asyncio.create_task(self._compress(path))
        return await asyncio.shield(self._under_way[path])

    async def _compress(self, path: Path) -> bytes:
        try:
            body = await asyncio.to_thread(lambda: gzip.compress(path.read_bytes(), compresslevel=6, mtime=0))
        finally:
            del self._under_way[path]
        self._held[path] = body
        while sum(map(len, self._held.values())) > self._bytes_max:
            self._held.popitem(last=False)
        return body


class WebUI:
    """The files below a folder, as it is when this is made; none without one."""

    def __init__(self, folder: Path | None) -> None:
        self._compressed = Compressed()
        self._files = {} if folder is None else _files(folder)

    @property
    def index(self) -> File | None:
        """The page from which all others are reached; None where there is no web UI."""
        return self._files.get(ROOT + _INDEX)

    def find(self, raw_path: str) -> File | None:
        """Return the file at a path as it was sent."""
        return self._files.get(raw_path)

    async def reply(self, file: File, request: Request) -> Reply:
        """Return the answer to a GET or HEAD of a file."""
        return await file.reply(request, self._compressed)


def _files(folder: Path) -> dict[str, File]:
    """Return every file by its path in a URL, so that no path in a URL is ever one on the disk."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {ROOT + path.relative_to(folder).as_posix(): _file(path) for path in paths}


def _file(path: Path) -> File:
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if path.suffix in (".js", ".mjs", ".cjs"):
        guessed = "text/javascript"
    return File(
        path=path,
        media_type=f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed,
        entity_tag=None if _HASHED.search(path.name) else _entity_tag(path),
    )


def _entity_tag(path: Path) -> bytes:
    # Weak, as the same stands for what is compressed and what is not.
    return b'W/"%s"' % hashlib.sha256(path.read_bytes()).hexdigest()[:32].encode()
