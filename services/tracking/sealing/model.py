"""Which chunks of a metric become one, so that there are few and nothing is written more than a few times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.tracking.metrics.columns import Points
from services.tracking.metrics.model import CHUNK_POINTS_MIN, SORTED_POINTS_MAX

# A chunk of so many points stays as it is.
FULL_POINTS = 65_536
# While a run goes on, so many small ones are merged at once.
MERGED_CHUNKS_MIN = 8
# What one transaction reads and writes; it holds the lock on the run.
STEP_POINTS_MAX = 262_144
STEP_CHUNKS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk."""

    chunk_id: int
    point_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricState:
    """How a metric is stored: its chunks, by id, and how many points wait as rows."""

    metric_id: int
    point_count: int
    pending_count: int
    in_order: bool
    pieces: Sequence[Piece]


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """Chunks in a row that become one, with the rows that wait if it is `with_pending`; or all, sorted."""

    metric_id: int
    chunk_ids: Sequence[int]
    point_count: int
    with_pending: bool = False
    is_sort: bool = False


def plan(metric: MetricState, *, is_over: bool, can_sort: bool = True) -> Merge | None:
    """Return the next thing to do for a metric; `is_over` if nothing more is expected. None: it is well stored."""
    if can_sort and not metric.in_order and _is_worth_sorting(metric, is_over=is_over):
        return Merge(
            metric_id=metric.metric_id,
            chunk_ids=[piece.chunk_id for piece in metric.pieces],
            point_count=metric.point_count,
            with_pending=True,
            is_sort=True,
        )
    return merge(metric, is_over=is_over)


def merge(metric: MetricState, *, is_over: bool) -> Merge | None:
    """Return the next chunks to make one of, without sorting."""
    *inner, tail = _rows_of_small(metric.pieces)
    for row in inner:
        if len(row) > 1:
            return _merge(metric, _enough(row))
    if sum(piece.point_count for piece in tail) >= FULL_POINTS and len(tail) > 1:
        return _merge(metric, _enough(tail))
    if is_over:
        with_pending = metric.pending_count >= CHUNK_POINTS_MIN
        if len(tail) > 1 or (tail and with_pending):
            return _merge(metric, tail, with_pending=with_pending)
        return None
    newest = _newest(tail)
    return _merge(metric, newest) if len(newest) >= MERGED_CHUNKS_MIN else None


def numbered(points: Points, merge: Merge) -> list[tuple[int | None, Points]]:
    """Return the points in chunks less than twice as large as a full one, with their numbers; None is the next new one.

    What is merged takes the number of the last chunk of it, so that the order of chunks stays that of arrival. What is
    sorted takes new ones: who reads on after a chunk would take what now has its number for read.
    """
    if not merge.is_sort:
        return [(merge.chunk_ids[-1], points)]
    count = max(1, len(points) // FULL_POINTS)
    bounds = [len(points) * place // count for place in range(count + 1)]
    return [(None, points.take(slice(bounds[place], bounds[place + 1]))) for place in range(count)]


def is_in_order(points: Points) -> bool:
    """Tell whether points that are sorted by step are sorted by time as well."""
    return bool(np.all(points.timestamps[1:] >= points.timestamps[:-1]))


def _is_worth_sorting(metric: MetricState, *, is_over: bool) -> bool:
    # It is sorted as a whole.
    if metric.point_count > SORTED_POINTS_MAX or not metric.pieces:
        return False
    small = sum(piece.point_count for piece in metric.pieces if piece.point_count < FULL_POINTS)
    return is_over or small >= max(FULL_POINTS, metric.point_count // 4)


def _rows_of_small(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield the small chunks that stand in a row; the last ones are those at the end, perhaps none."""
    row: list[Piece] = []
    for piece in pieces:
        if piece.point_count >= FULL_POINTS:
            yield row
            row = []
        else:
            row.append(piece)
    yield row


def _enough(row: Sequence[Piece]) -> list[Piece]:
    """Return the first chunks of a row that are enough for a full one, or all."""
    taken: list[Piece] = []
    total = 0
    for piece in row:
        if total >= FULL_POINTS or len(taken) == STEP_CHUNKS_MAX:
            break
        taken.append(piece)
        total += piece.point_count
    return taken


def _newest(tail: Sequence[Piece]) -> list[Piece]:
    """Return the newest chunks, without those at least twice as large as all after them: what is merged doubles, so
    that a point is written as often as its chunk can double.
    """
    taken: list[Piece] = []
    total = 0
    for piece in reversed(tail):
        if total and piece.point_count >= 2 * total:
            break
        taken.append(piece)
        total += piece.point_count
    return taken[::-1][:STEP_CHUNKS_MAX]


def _merge(metric: MetricState, pieces: Sequence[Piece], *, with_pending: bool = False) -> Merge:
    return Merge(
        metric_id=metric.metric_id,
        chunk_ids=[piece.chunk_id for piece in pieces],
        point_count=sum(piece.point_count for piece in pieces),
        with_pending=with_pending,
    )
