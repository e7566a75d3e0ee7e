"""Sends columns to Postgres as arrays: psycopg's own way with lists takes 50 µs a list, and half of one an element.

numpy is known by name and by what it made, and not imported: a service without columns does without its 20 MB.
"""

import struct
from typing import Any

from psycopg import errors
from psycopg.abc import DumperKey
from psycopg.adapt import AdaptersMap, Dumper, PyFormat
from psycopg.pq import Format
from psycopg.types import array

# One-dimensional, whether there are NULLs, element type, length, first index.
_HEADER = struct.Struct("!iiIii")
_LENGTH = struct.Struct("!i")
_NULL = _LENGTH.pack(-1)
_BYTEA_OID = 17
_ELEMENT_OIDS = {"i8": 20, "f8": 701, "b1": 16}
_ARRAY_OIDS = {"i8": 1016, "f8": 1022, "b1": 1000}
# psycopg remembers one dumper for each key, and wants keys made of types.
_KEY_OF = {"i8": int, "f8": float, "b1": bool}


class ColumnDumper(Dumper):
    """Dumps a one-dimensional array of int64, float64 or bool as bigint[], float8[] or boolean[]."""

    format = Format.BINARY

    def get_key(self, obj: Any, format: Any) -> DumperKey:
        return type(obj), (_KEY_OF[_kind(obj)],)

    def upgrade(self, obj: Any, format: Any) -> "ColumnDumper":
        dumper = ColumnDumper(type(obj))
        dumper.oid = _ARRAY_OIDS[_kind(obj)]
        return dumper

    def dump(self, obj: Any) -> bytes:
        kind = _kind(obj)
        elements = type(obj)(len(obj), [("length", ">i4"), ("value", f">{kind}")])
        elements["length"] = obj.itemsize
        elements["value"] = obj
        packed: bytes = _HEADER.pack(1, 0, _ELEMENT_OIDS[kind], len(obj), 1) + elements.tobytes()
        return packed


class ListDumper(array.ListDumper):
    """Dumps lists of texts, of whole numbers and of bytes quickly, and any other list as psycopg does."""

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:
        quick = _quick(obj)
        return super().get_key(obj, format) if quick is None else quick

    def upgrade(self, obj: list[Any], format: PyFormat) -> Any:
        quick = _quick(obj)
        return super().upgrade(obj, format) if quick is None else quick(list)


class _Texts(Dumper):
    """Of no type, so that it becomes the one that is wanted, as psycopg's own."""

    def dump(self, obj: list[str]) -> bytes:
        # Nothing in these texts looks like what is between them.
        text = '","'.join([item.replace("\\", "\\\\").replace('"', '\\"') for item in obj])
        if "\0" in text:
            raise errors.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return b'{"%b"}' % text.encode()


class _Numbers(Dumper):
    oid = _ARRAY_OIDS["i8"]

    def dump(self, obj: list[int]) -> bytes:
        return b"{%b}" % ",".join(map(str, obj)).encode()


class _Blobs(Dumper):
    """psycopg writes a list of bytes out in hexadecimal, and looks through all of that for what it must quote."""

    format = Format.BINARY
    oid = 1001

    def dump(self, obj: list[bytes | None]) -> bytes:
        parts = [_HEADER.pack(1, int(None in obj), _BYTEA_OID, len(obj), 1)]
        for item in obj:
            if item is None:
                parts.append(_NULL)
            else:
                parts += (_LENGTH.pack(len(item)), item)
        return b"".join(parts)


def register(adapters: AdaptersMap) -> None:
    """Make numpy arrays usable as parameters of every connection made from now on, and lists cheap."""
    adapters.register_dumper("numpy.ndarray", ColumnDumper)
    adapters.register_dumper(list, ListDumper)


def _quick(values: list[Any]) -> type[Dumper] | None:
    return _QUICK.get(frozenset(map(type, values)))


_QUICK: dict[frozenset[type], type[Dumper]] = {
    frozenset({str}): _Texts,
    frozenset({int}): _Numbers,
    frozenset({bytes}): _Blobs,
    frozenset({bytes, type(None)}): _Blobs,
}


def _kind(array: Any) -> str:
    return f"{array.dtype.kind}{array.dtype.itemsize}"
