"""A metric across ranks, step by step."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.tracking.metrics.columns import NO_RANK, BoolColumn, FloatColumn, IntColumn, Points, sortable
from services.tracking.metrics.model import bucket_starts


@dataclass(frozen=True, kw_only=True, slots=True)
class RankSummary:
    """A metric at one step; see modelstead.tracking.v1.RankSummary."""

    step: int
    count: int
    nan_count: int
    min: float | None
    mean: float | None
    max: float | None
    min_rank: int | None
    max_rank: int | None


def summarize(points: Points, *, steps_max: int) -> list[RankSummary]:
    """Return the summaries of at most so many steps, evenly taken, by step. Points without a rank do not count."""
    latest = _latest(points.take(points.ranks != NO_RANK))
    steps, starts = np.unique(latest.steps, return_index=True)
    if not len(steps):
        return []
    ends = np.append(starts[1:], len(latest))
    values, is_nan = sortable(latest.values)
    counts, nan_counts = ends - starts, np.add.reduceat(is_nan.astype(np.int64), starts)
    which = np.repeat(np.arange(len(steps)), counts)
    lows = np.minimum.reduceat(np.where(is_nan, np.inf, values), starts)
    highs = np.maximum.reduceat(np.where(is_nan, -np.inf, values), starts)
    # Each is divided first, so that the greatest numbers do not become infinite.
    means = np.add.reduceat(values / np.maximum(counts - nan_counts, 1)[which], starts)
    low_ranks = latest.ranks[_first(~is_nan & (values == lows[which]), starts)]
    high_ranks = latest.ranks[_first(~is_nan & (values == highs[which]), starts)]
    return [
        _summary(steps, counts, nan_counts, (lows, means, highs), (low_ranks, high_ranks), place)
        for place in bucket_starts(len(steps), steps_max)
    ]


def _latest(points: Points) -> Points:
    """Return each rank's latest point of each step, by step and rank."""
    values, is_nan = sortable(points.values)
    ordered = points.take(np.lexsort((is_nan, values, points.timestamps, points.ranks, points.steps)))
    is_last = np.ones(len(ordered), np.bool_)
    is_last[:-1] = (ordered.steps[1:] != ordered.steps[:-1]) | (ordered.ranks[1:] != ordered.ranks[:-1])
    return ordered.take(is_last)


def _first(holds: BoolColumn, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the first place of each group at which something holds; where it does nowhere, any."""
    places = np.where(holds, np.arange(len(holds)), len(holds) - 1)
    first: npt.NDArray[np.intp] = np.minimum.reduceat(places, starts)
    return first


def _summary(
    steps: IntColumn,
    counts: IntColumn,
    nan_counts: IntColumn,
    numbers: tuple[FloatColumn, FloatColumn, FloatColumn],
    ranks: tuple[IntColumn, IntColumn],
    place: int,
) -> RankSummary:
    has_number = counts[place] > nan_counts[place]
    low, mean, high = (float(column[place]) if has_number else None for column in numbers)
    low_rank, high_rank = (int(column[place]) if has_number else None for column in ranks)
    return RankSummary(
        step=int(steps[place]),
        count=int(counts[place]),
        nan_count=int(nan_counts[place]),
        min=low,
        mean=mean,
        max=high,
        min_rank=low_rank,
        max_rank=high_rank,
    )
