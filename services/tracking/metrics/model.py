"""What is known of a metric besides its points, how new points change it, and which points make an even sample."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.tracking.metrics.columns import BoolColumn, FloatColumn, IntColumn, Points, sortable

# So many new points of one metric become a chunk at once; fewer wait as rows, of which there are at most so many.
CHUNK_POINTS_MIN = 16
PENDING_POINTS_MAX = 512
# What spreads numbers that follow each other evenly over half of that: odd, and near the golden section of it.
_SPREAD = 159

_RADIX_METRICS_MAX = 1 << 16

# So many points are sorted in memory at once.
SORTED_POINTS_MAX = 2_000_000

# Infinity is stored as the greatest double, as MLflow 3.18 does (sqlalchemy_store.py, sanitize_metric_value).
VALUE_MAX = float(np.finfo(np.float64).max)


def pending_points_max(metric_ids: IntColumn) -> IntColumn:
    """Return, for each metric, at how many rows they become a chunk: half of the most or more, not alike for all.
    Else the ranks of a job, which log in step, would all have theirs packed by one transaction, which others wait for.
    """
    return PENDING_POINTS_MAX - metric_ids * _SPREAD % (PENDING_POINTS_MAX // 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric of a run. `value` is 0 where `is_nan`.

    `in_order`: each point came after all before it, by step, timestamp and value, and no timestamp went back. Then
    there are no duplicates, and the orders of time, of step and of arrival are one. The last `pending_count` points are
    rows.
    """

    metric_id: int
    run_id: str
    key: str
    point_count: int
    pending_count: int
    in_order: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points of several metrics of one run: those of the first of `keys`, then those of the second, and so on."""

    keys: Sequence[str]
    counts: IntColumn
    points: Points


@dataclass(frozen=True, kw_only=True, slots=True)
class Latest:
    """The latest points and the bookkeeping of several metrics as columns, one entry a metric."""

    values: FloatColumn
    is_nan: BoolColumn
    timestamps: IntColumn
    steps: IntColumn
    point_counts: IntColumn
    pending_counts: IntColumn
    in_order: BoolColumn
    exists: BoolColumn


@dataclass(frozen=True, kw_only=True, slots=True)
class Append:
    """New points of several metrics: `points` are sorted by metric, then step, timestamp and value.

    `starts[i]` is where the points of `metrics[i]`, a (run id, key), begin.
    """

    metrics: Sequence[tuple[str, str]]
    points: Points
    starts: npt.NDArray[np.intp]

    @property
    def counts(self) -> npt.NDArray[np.intp]:
        return np.diff(self.starts, append=len(self.points))

    def of_metric(self, index: int) -> Points:
        end = int(self.starts[index]) + int(self.counts[index])
        return self.points.take(slice(int(self.starts[index]), end))


def group(metrics: Sequence[tuple[str, str]], places: "Sequence[int] | IntColumn", points: Points) -> Append:
    """Sort points by metric and order; `places[i]` is the index in `metrics` of the metric of point i.

    Every metric has at least one point. Infinite values are clamped.
    """
    which = np.asarray(places, np.int64)
    clamped = replace(points, values=np.clip(points.values, -VALUE_MAX, VALUE_MAX))
    # Short integers are sorted by radix. What is logged in order, as most is, needs no more.
    order = np.argsort(which.astype(np.uint16) if len(metrics) < _RADIX_METRICS_MAX else which, kind="stable")
    starts = np.searchsorted(which[order], np.arange(len(metrics)))
    append = Append(metrics=metrics, points=clamped.take(order), starts=starts)
    if _falls(append).any():
        values, _ = sortable(clamped.values)
        # Stable: equals stay in the order of arrival, NaN counting as 0.
        order = np.lexsort((values, points.timestamps, points.steps, which))
        append = Append(metrics=metrics, points=clamped.take(order), starts=starts)
    return append


def extend(latest: Latest, append: Append) -> Latest:
    """Return the state of the metrics after new points.

    The latest point is the one with the greatest (step, timestamp, value), NaN counting as 0; an equal one does not
    replace it (as MLflow 3.18, sqlalchemy_store.py).
    """
    counts, rises = append.counts, _rises(append)
    first, last = append.starts, _last(append, rises)
    values, is_nan = sortable(append.points.values)
    timestamps, steps = append.points.timestamps, append.points.steps
    newer = ~latest.exists | _greater(
        (steps[last], timestamps[last], values[last]), (latest.steps, latest.timestamps, latest.values)
    )
    after = ~latest.exists | (
        _greater((steps[first], timestamps[first], values[first]), (latest.steps, latest.timestamps, latest.values))
        & (timestamps[first] >= latest.timestamps)
    )
    return Latest(
        values=np.where(newer, values[last], latest.values),
        is_nan=np.where(newer, is_nan[last], latest.is_nan),
        timestamps=np.where(newer, timestamps[last], latest.timestamps),
        steps=np.where(newer, steps[last], latest.steps),
        point_counts=latest.point_counts + counts,
        pending_counts=latest.pending_counts + counts,
        in_order=latest.in_order & after & _ascending(append, rises),
        exists=np.ones_like(latest.exists),
    )


def clamped(value: float) -> float:
    """Return a value as it is stored; NaN stays."""
    return float(np.clip(value, -VALUE_MAX, VALUE_MAX))


def unknown(count: int) -> Latest:
    """Return the state of metrics that have no points yet."""
    return Latest(
        values=np.zeros(count),
        is_nan=np.zeros(count, np.bool_),
        timestamps=np.zeros(count, np.int64),
        steps=np.zeros(count, np.int64),
        point_counts=np.zeros(count, np.int64),
        pending_counts=np.zeros(count, np.int64),
        in_order=np.ones(count, np.bool_),
        exists=np.zeros(count, np.bool_),
    )


def bucket_starts(count: int, buckets: int) -> list[int]:
    """Return the places, of `count` sorted points, that an even sample of `buckets` points takes: the first of each
    bucket of SQL's NTILE, and the last point of all, in place of the last bucket's first if there are enough.
    """
    if count <= buckets:
        return list(range(count))
    size, larger = divmod(count, buckets)
    places = [bucket * size + min(bucket, larger) for bucket in range(buckets)]
    places[-1] = count - 1
    return places


def _rises(append: Append) -> BoolColumn:
    """Tell which points are greater than the one before, by step, timestamp and value, or the first of a metric."""
    steps, timestamps, (values, _) = append.points.steps, append.points.timestamps, sortable(append.points.values)
    rises = np.ones(len(steps), np.bool_)
    rises[1:] = _greater((steps[1:], timestamps[1:], values[1:]), (steps[:-1], timestamps[:-1], values[:-1]))
    rises[append.starts] = True
    return rises


def _falls(append: Append) -> BoolColumn:
    """Tell which points are less than the one before, which is of the same metric."""
    steps, timestamps, (values, _) = append.points.steps, append.points.timestamps, sortable(append.points.values)
    falls = np.zeros(len(steps), np.bool_)
    falls[1:] = _greater((steps[:-1], timestamps[:-1], values[:-1]), (steps[1:], timestamps[1:], values[1:]))
    falls[append.starts] = False
    return falls


def _last(append: Append, rises: BoolColumn) -> npt.NDArray[np.intp]:
    """Return the place of each metric's greatest point, the first to arrive among equals."""
    places = np.where(rises, np.arange(len(append.points)), 0)
    last: npt.NDArray[np.intp] = np.maximum.accumulate(places)[append.starts + append.counts - 1]
    return last


def _ascending(append: Append, rises: BoolColumn) -> BoolColumn:
    """Tell for each metric whether each point comes after the one before and no timestamp goes back."""
    timestamps, comes_after = append.points.timestamps, rises.copy()
    comes_after[1:] &= timestamps[1:] >= timestamps[:-1]
    comes_after[append.starts] = True
    ascending: BoolColumn = np.logical_and.reduceat(comes_after, append.starts)
    return ascending


_Key = tuple[IntColumn, IntColumn, FloatColumn]


def _greater(left: _Key, right: _Key) -> BoolColumn:
    (step, timestamp, value), (other_step, other_timestamp, other_value) = left, right
    greater: BoolColumn = (step > other_step) | (
        (step == other_step)
        & ((timestamp > other_timestamp) | ((timestamp == other_timestamp) & (value > other_value)))
    )
    return greater
