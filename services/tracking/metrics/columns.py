"""Points of metrics as columns; services/tracking/metrics/packing.py tells how they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntColumn = npt.NDArray[np.int64]
FloatColumn = npt.NDArray[np.float64]
BoolColumn = npt.NDArray[np.bool_]


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
        return self.take(self._order((self.timestamps, self.steps)))

    def by_step(self) -> "Points":
        """Return the points in the order of step, timestamp and value, equal ones once."""
        return self.take(self.step_order())

    def step_order(self) -> "npt.NDArray[np.intp]":
        """Return the places of the points in the order of step, timestamp and value; of equal ones, the first."""
        return self._order((self.steps, self.timestamps))

    def _order(self, major: tuple[IntColumn, IntColumn]) -> "npt.NDArray[np.intp]":
        values, is_nan = sortable(self.values)
        order = np.lexsort((is_nan, values, major[1], major[0]))
        keys = [column[order] for column in (*major, values, is_nan)]
        differs = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
        return order[np.concatenate(([True], differs))] if len(order) else order


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
