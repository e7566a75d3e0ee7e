"""Points of one metric as columns, and how a chunk packs them.

A chunk keeps steps and timestamps as zlib-compressed little-endian int64 differences, the first entry as it is, and
values as little-endian float64; NaN is NaN.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntColumn = npt.NDArray[np.int64]
FloatColumn = npt.NDArray[np.float64]
BoolColumn = npt.NDArray[np.bool_]

_LEVEL = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """Columns of equal length, one entry a point; timestamps in milliseconds since the Unix epoch."""

    timestamps: IntColumn
    steps: IntColumn
    values: FloatColumn

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, index: "npt.NDArray[np.intp] | BoolColumn | slice") -> "Points":
        """Return the points at the given places."""
        return Points(timestamps=self.timestamps[index], steps=self.steps[index], values=self.values[index])

    def by_time(self) -> "Points":
        """Return the points in the order of timestamp, step and value, equal ones once."""
        return self._sorted((self.timestamps, self.steps))

    def by_step(self) -> "Points":
        """Return the points in the order of step, timestamp and value, equal ones once."""
        return self._sorted((self.steps, self.timestamps))

    def _sorted(self, major: tuple[IntColumn, IntColumn]) -> "Points":
        values, is_nan = sortable(self.values)
        order = np.lexsort((is_nan, values, major[1], major[0]))
        keys = [column[order] for column in (*major, values, is_nan)]
        differs = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
        return self.take(order[np.concatenate(([True], differs))] if len(order) else order)


def sortable(values: FloatColumn) -> tuple[FloatColumn, BoolColumn]:
    """Return values with NaN as 0, as which MLflow orders it, and where it was NaN."""
    is_nan = np.isnan(values)
    return np.where(is_nan, 0.0, values), is_nan


def points(timestamps: Sequence[int], steps: Sequence[int], values: Sequence[float]) -> Points:
    """Build columns from sequences of equal length."""
    return Points(
        timestamps=np.array(timestamps, np.int64), steps=np.array(steps, np.int64), values=np.array(values, np.float64)
    )


def concatenate(parts: Sequence[Points]) -> Points:
    """Return all points of `parts`, in their order; at least one part."""
    return Points(
        timestamps=np.concatenate([part.timestamps for part in parts]),
        steps=np.concatenate([part.steps for part in parts]),
        values=np.concatenate([part.values for part in parts]),
    )


def pack(column: IntColumn) -> bytes:
    """Pack integers; differences wrap around, and so does their sum when they are unpacked."""
    return zlib.compress(np.diff(column, prepend=np.int64(0)).astype("<i8").tobytes(), _LEVEL)


def unpack(data: bytes) -> IntColumn:
    return np.cumsum(np.frombuffer(zlib.decompress(data), "<i8"), dtype=np.int64)


def pack_values(column: FloatColumn) -> bytes:
    return column.astype("<f8").tobytes()


def unpack_values(data: bytes) -> FloatColumn:
    return np.frombuffer(data, "<f8")
