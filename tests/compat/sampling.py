"""A model of how MLflow 3.18 thins a metric's history out, to compare a server's samples with."""

from collections.abc import Iterable, Sequence
from typing import Any

Point = tuple[float | str, int, int]
"""(value, timestamp, step); the value is a number or "NaN"."""


def points_of(entries: Iterable[dict[str, Any]]) -> list[Point]:
    """The points of an answer, in its order."""
    return [(entry["value"], entry["timestamp"], entry["step"]) for entry in entries]


def sample(points: Sequence[Point], size: int) -> list[Point]:
    """Return at most `size` of the points, as sqlalchemy_store.get_metric_history_bulk_interval picks them.

    The points, each counted once and in order of step, timestamp and value, go into `size` buckets as equal as can
    be, larger ones first. The first of each bucket is kept; the very last takes the last place.
    """
    ordered = sorted(set(points), key=_order)
    starts = [_start(bucket, len(ordered), size) for bucket in range(min(size, len(ordered)))]
    chosen = [ordered[start] for start in starts]
    if chosen and chosen[-1] != ordered[-1]:
        chosen[size - 1 :] = [ordered[-1]]
    return chosen


def _start(bucket: int, count: int, size: int) -> int:
    share, larger = divmod(count, size)
    return bucket * share + min(bucket, larger)


def _order(point: Point) -> tuple[int, int, float, bool]:
    value, timestamp, step = point
    return (step, timestamp, 0.0, True) if isinstance(value, str) else (step, timestamp, value, False)
