"""What maintenance reports."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


class Problem(Enum):
    """What is wrong with an object; the names are those of the proto."""

    MISSING = "MISSING"
    TRUNCATED = "TRUNCATED"
    CHANGED = "CHANGED"
    ORPHANED = "ORPHANED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """An object that does not fit its record; `paths` are some of the files that have its contents."""

    problem: Problem
    object_key: str
    paths: list[str] = field(default_factory=list)
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """What was compared."""

    object_count: int
    byte_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Swept:
    """What a sweep has done: uploads and objects removed, objects read and hashed."""

    upload_count: int
    object_count: int
    verified_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """A blob as maintenance sees it."""

    blob_id: int
    object_key: str
    size: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Doomed:
    """An object to be removed, and perhaps parts that were to become one; `create_time` is when it became garbage."""

    object_key: str
    has_parts: bool
    create_time: datetime
