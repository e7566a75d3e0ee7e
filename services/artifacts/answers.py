"""A download as HTTP has it: ranges, ETags, headers, in the messages of which the gateway makes an answer."""

import mimetypes
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from google.api import httpbody_pb2
from google.protobuf import any_pb2

from modelstead import http_pb2
from services.artifacts.trees import OpenFile
from services.common.rpc import wire
from services.common.rpc.pipeline import Answer

# As MLflow 3.18 (mime_type_utils.py): what people want to look at is text, whatever its registered type.
_TEXT_EXTENSIONS = frozenset(
    (
        "txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md rst ipynb "
        "MLmodel mlproject"
    ).split()
)
# Without the system's own table, so that every machine answers the same.
_TYPES = mimetypes.MimeTypes()
_BINARY = "application/octet-stream"
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Longer numbers than any file's size; Python refuses to read ones of thousands of digits.
_POSITION_DIGITS_MAX = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The request's headers `Range`, `If-None-Match` and `If-Range`, each empty if it was not sent."""

    range: str
    if_none_match: str
    if_range: str


async def stream(file: OpenFile, *, name: str, conditions: Conditions) -> AsyncIterator[Answer]:
    """Yield the messages of an answer with a file, or with what the request's conditions leave of it.

    `name` is what a browser shall call the file. Raises what reading raises.
    """
    etag = f'"{file.etag}"'
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": disposition(name),
        "content-length": str(file.size),
        "etag": etag,
    }
    if _names(conditions.if_none_match, file.etag):
        del headers["content-length"]
        yield _head(HTTPStatus.NOT_MODIFIED, name, headers)
        return
    status, start, end = HTTPStatus.OK, 0, file.size
    if conditions.range and conditions.if_range in ("", etag):
        status, start, end = _part(conditions.range, file.size)
    if status is not HTTPStatus.OK:
        headers["content-range"] = f"bytes {f'{start}-{end - 1}' if end > start else '*'}/{file.size}"
        headers["content-length"] = str(end - start)
    head = _head(status, name, headers)
    chunks = file.read(start, end - start)
    head.data = await anext(chunks, b"")
    yield head
    async for chunk in chunks:
        yield wire.body(chunk)


def content_type(name: str) -> str:
    """Return the type by which a file's contents are answered, guessed from its name alone."""
    extension = name.rpartition(".")[2]
    if extension in _TEXT_EXTENSIONS:
        return "text/plain"
    return _TYPES.guess_type(name)[0] or _BINARY


def disposition(name: str) -> str:
    """Return the header by which a browser saves the file, so that nothing of it runs in our pages (RFC 6266)."""
    plain = "".join(character if " " <= character <= "~" else "_" for character in name)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    quoted = plain if _TOKEN.fullmatch(plain) else f'"{escaped}"'
    header = f"attachment; filename={quoted}"
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"


def _part(text: str, size: int) -> tuple[HTTPStatus, int, int]:
    """Return the status of the answer to a range, and where it begins and ends (exclusive)."""
    match = _RANGE.fullmatch(text)
    first, last = match.groups() if match else ("", "")
    if not (first or last) or max(len(first), len(last)) > _POSITION_DIGITS_MAX:
        return HTTPStatus.OK, 0, size
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return HTTPStatus.OK, 0, size
    if start >= end:
        return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, 0
    return HTTPStatus.PARTIAL_CONTENT, start, end


def _names(if_none_match: str, etag: str) -> bool:
    candidates = (candidate.strip().removeprefix("W/") for candidate in if_none_match.split(","))
    return any(candidate in ("*", f'"{etag}"') for candidate in candidates)


def _head(status: HTTPStatus, name: str, headers: dict[str, str]) -> httpbody_pb2.HttpBody:
    packed = any_pb2.Any()
    packed.Pack(http_pb2.HttpHead(status=status.value, headers=headers))
    return httpbody_pb2.HttpBody(content_type=content_type(name), extensions=[packed])
