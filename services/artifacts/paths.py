"""Paths as clients write them: parsed once into segments, and refused where MLflow refuses them."""

import re
from collections.abc import Sequence

from services.artifacts.trees import Segments
from services.common.errors import InvalidArgument

PATH_BYTES_MAX = 1024
SEGMENT_BYTES_MAX = 255

# C0, DEL and C1; and what other systems take for a separator or, in URIs, for an end.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\#]")
# Where MLflow 3.18 (uri.py, validate_path_is_safe) sees an absolute path: a drive, or a URI of a local file.
_ROOT = re.compile(r"[A-Za-z]:|file:", re.IGNORECASE)


def parse(path: str) -> Segments:
    """Return the segments of a client's path, none for the root; a slash at the end counts for nothing.

    Nothing is decoded: a percent sign is a character like others. Raises InvalidArgument, as MLflow with the text
    `Invalid path`, for what could lead elsewhere: absolute paths, `.` and `..`, empty segments, backslashes, drives,
    `#` and control characters.
    """
    if not path:
        return ()
    if _FORBIDDEN.search(path):
        raise InvalidArgument("Invalid path")
    segments = tuple(path.removesuffix("/").split("/"))
    if _ROOT.fullmatch(segments[0]) or any(segment in ("", ".", "..") for segment in segments):
        raise InvalidArgument("Invalid path")
    check_length(path.removesuffix("/"))
    return segments


def parse_file(path: str) -> Segments:
    """Return the segments of a path that must name something below the root. Raises InvalidArgument as `parse` does."""
    segments = parse(path)
    if not segments:
        raise InvalidArgument("Invalid path")
    return segments


def join(segments: Sequence[str]) -> str:
    """Return the path of which `parse` makes these segments."""
    return "/".join(segments)


def ancestors(path: str) -> list[str]:
    """Return the folders above a parsed path, topmost first, without the root."""
    segments = path.split("/")
    return ["/".join(segments[:depth]) for depth in range(1, len(segments))]


def check_length(path: str) -> None:
    """Raises InvalidArgument for a path that is too long to be kept, or a segment too long for most file systems."""
    if len(path.encode()) > PATH_BYTES_MAX:
        raise InvalidArgument(f"Invalid path: it exceeds {PATH_BYTES_MAX} bytes")
    if max(len(segment.encode()) for segment in path.split("/")) > SEGMENT_BYTES_MAX:
        raise InvalidArgument(f"Invalid path: a segment exceeds {SEGMENT_BYTES_MAX} bytes")
