"""How a chunk packs its columns: any entry can be read without those before it, from a few bytes.

Integers are kept as their distance from a line between the first and the last one, all in the fewest bytes that the
greatest distance needs: none for steps that rise evenly. All arithmetic wraps around at 64 bits, in packing as in
unpacking, so that every column comes back as it was. Values are float64, or float32 where that loses nothing of any.
Ranks are there only if a point has one.
Chunks of the first release are zlib streams of differences, which are still read.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from services.tracking.metrics.columns import NO_RANK, FloatColumn, IntColumn, Points, of_rank

# Width in bytes, count, first and last entry, and what the distances are counted from.
_HEADER = struct.Struct("<BIqqq")
HEADER_BYTES = _HEADER.size
_ZLIB = 0x78
_UNSIGNED = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}


@dataclass(frozen=True, slots=True)
class Line:
    """The header of a packed column: `width` bytes an entry follow it."""

    width: int
    count: int
    first: int
    last: int
    base: int

    def at(self, places: IntColumn) -> IntColumn:
        """Return where the line is at the given places, with the base added."""
        rise = np.int64(_wrapped(self.last - self.first))
        along = (places * rise) // np.int64(max(self.count - 1, 1))
        line: IntColumn = along + np.int64(_wrapped(self.first + self.base))
        return line


def pack(column: IntColumn) -> bytes:
    """Pack integers, at least one."""
    return _packed(column, first=int(column[0]), last=int(column[-1]))


def pack_ranks(points: Points) -> bytes | None:
    """Pack the ranks of points, which follow no line; None if there are none."""
    if not points.has_ranks:
        return None
    least = int(points.ranks.min())
    return _packed(points.ranks, first=least, last=least)


def _packed(column: IntColumn, *, first: int, last: int) -> bytes:
    line = Line(width=0, count=len(column), first=first, last=last, base=0)
    distances = column - line.at(np.arange(len(column)))
    base = int(distances.min())
    above = (distances - np.int64(base)).view(np.uint64)
    width = _width(int(above.max()))
    header = _HEADER.pack(width, line.count, line.first, line.last, base)
    return header + above.astype(_UNSIGNED[width]).tobytes() if width else header


def unpack(data: bytes) -> IntColumn:
    """Return all integers of a packed column."""
    if is_old(data):
        return np.cumsum(np.frombuffer(zlib.decompress(data), "<i8"), dtype=np.int64)
    line = header(data)
    return entries(line, np.arange(line.count), data[HEADER_BYTES:])


def entries(line: Line, places: IntColumn, packed: bytes) -> IntColumn:
    """Return the integers at some places of a column, given its header and the bytes that it has for them."""
    if not line.width:
        return line.at(places)
    found: IntColumn = line.at(places) + np.frombuffer(packed, _UNSIGNED[line.width]).astype(np.int64)
    return found


def header(data: bytes) -> Line:
    """Return the header of a column, of which `data` holds the beginning."""
    return Line(*_HEADER.unpack_from(data))


def is_old(data: bytes) -> bool:
    """Whether a column is packed as in the first release: it has to be read whole."""
    return data[0] == _ZLIB


def pack_values(column: FloatColumn) -> bytes:
    """Pack values."""
    with np.errstate(over="ignore"):
        halved = column.astype("<f4")
    is_exact = np.array_equal(halved.astype(np.float64), column, equal_nan=True)
    return halved.tobytes() if is_exact else column.astype("<f8").tobytes()


def unpack_values(data: bytes, count: int) -> FloatColumn:
    """Return `count` values."""
    if len(data) == 8 * count:
        return np.frombuffer(data, "<f8")
    return np.frombuffer(data, "<f4").astype(np.float64)


def unpacked(steps: bytes, timestamps: bytes, values: bytes, ranks: bytes | None = None) -> Points:
    """Return the points of a chunk."""
    unpacked_steps = unpack(steps)
    count = len(unpacked_steps)
    return Points(
        timestamps=unpack(timestamps),
        steps=unpacked_steps,
        values=unpack_values(values, count),
        ranks=of_rank(NO_RANK, count) if ranks is None else unpack(ranks),
    )


def _width(greatest: int) -> int:
    if not greatest:
        return 0
    return next(width for width in _UNSIGNED if greatest < 1 << (8 * width))


def _wrapped(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63
