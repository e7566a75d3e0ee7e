"""Points of metrics as columns; services/tracking/metrics/packing.py tells how they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntColumn = npt.NDArray[np.int64]
FloatColumn = npt.NDArray[np.float64]
BoolColumn = npt.NDArray[np.bool_]
Column = IntColumn | FloatColumn | BoolColumn

# Of a point that was logged by no rank of a distributed run.
NO_RANK = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """Columns of equal length, one entry a point; timestamps in milliseconds since the Unix epoch.

    Points of two ranks are two points, which MLflow's API does not see: to it, those that differ by rank alone are one.
    """

    timestamps: IntColumn
    steps: IntColumn
    values: FloatColumn
    ranks: IntColumn

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, index: "npt.NDArray[np.intp] | BoolColumn | slice") -> "Points":
        """Return the points at the given places."""
        steps = self.steps[index]
        return Points(
            timestamps=self.timestamps[index],
            steps=steps,
            values=self.values[index],
            ranks=np.broadcast_to(self.ranks[:1], steps.shape) if _is_one(self.ranks) else self.ranks[index],
        )

    @property
    def has_ranks(self) -> bool:
        """Whether a rank has logged any of the points."""
        return bool(len(self.ranks)) and int(self.ranks.max()) != NO_RANK

    def by_time(self) -> "Points":
        """Return the points in the order of timestamp, step, value and rank, equal ones once."""
        return self.take(self._order((self.timestamps, self.steps)))

    def by_step(self) -> "Points":
        """Return the points in the order of step, timestamp, value and rank, equal ones once."""
        return self.take(self.step_order())

    def step_order(self) -> "npt.NDArray[np.intp]":
        """Return the places of the points in the order of step, timestamp, value and rank; of equal ones, the first."""
        return self._order((self.steps, self.timestamps))

    def once(self) -> "Points":
        """Return sorted points without those that differ from the one before by rank alone."""
        return self.distinct() if self.has_ranks else self

    def distinct(self) -> "Points":
        """Return sorted points without those that are equal to the one before, whatever the ranks of both."""
        return self.take(_differs([self.timestamps, self.steps, *sortable(self.values)]))

    def _order(self, major: tuple[IntColumn, IntColumn]) -> "npt.NDArray[np.intp]":
        keys: list[Column] = [*major, *sortable(self.values), *([self.ranks] if self.has_ranks else [])]
        order = np.lexsort(keys[::-1])
        return order[_differs([key[order] for key in keys])]


def sortable(values: FloatColumn) -> tuple[FloatColumn, BoolColumn]:
    """Return values with NaN as 0, as which MLflow orders it, and where it was NaN."""
    is_nan = np.isnan(values)
    return np.where(is_nan, 0.0, values), is_nan


def points(
    timestamps: Sequence[int], steps: Sequence[int], values: Sequence[float], ranks: Sequence[int] | None = None
) -> Points:
    """Build columns from sequences of equal length; without `ranks`, no rank has logged the points."""
    return Points(
        timestamps=np.array(timestamps, np.int64),
        steps=np.array(steps, np.int64),
        values=np.array(values, np.float64),
        ranks=of_rank(NO_RANK, len(steps)) if ranks is None else np.array(ranks, np.int64),
    )


def of_rank(rank: int, count: int) -> IntColumn:
    """Return the column of points that one rank has logged; it is not to be changed."""
    return np.broadcast_to(np.int64(rank), (count,))


def concatenate(parts: Sequence[Points]) -> Points:
    """Return all points of `parts`, in their order; at least one part."""
    return Points(
        timestamps=np.concatenate([part.timestamps for part in parts]),
        steps=np.concatenate([part.steps for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        ranks=_joined([part.ranks for part in parts]),
    )


def _joined(ranks: Sequence[IntColumn]) -> IntColumn:
    """Return columns in a row. Most often they are of one rank, or of none, and take no memory."""
    filled = [column for column in ranks if len(column)]
    if all(map(_is_one, filled)) and len({int(column[0]) for column in filled}) == 1:
        return np.broadcast_to(filled[0][:1], (sum(map(len, filled)),))
    return np.concatenate(ranks)


def _is_one(column: IntColumn) -> bool:
    """Whether a column repeats one entry, which is there once."""
    return column.strides == (0,)


def _differs(keys: Sequence[Column]) -> BoolColumn:
    """Tell which rows of sorted columns differ from the row before."""
    differs = np.ones(len(keys[0]), np.bool_)
    if len(differs):
        differs[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return differs
