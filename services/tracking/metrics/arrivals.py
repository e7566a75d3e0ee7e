"""The SQL of reading what came last of metrics, by the places of points in the order of arrival.

Places are counted from the end, which is exact: earlier releases stored some points once that they had counted twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, LiteralString, TypeVar

import numpy as np

from services.common.database import Driver
from services.tracking.metrics import columns, packing
from services.tracking.metrics.columns import IntColumn, Points
from services.tracking.metrics.model import Metric

_SELECT_CHUNKS = """
    SELECT i.metric_id, c.start, c.steps, c.timestamps, c.point_values
    FROM unnest(
        %(metric_ids)s::bigint[], %(ends)s::bigint[], %(firsts)s::bigint[], %(lasts)s::bigint[]
    ) AS i (metric_id, chunks_end, first, last)
    CROSS JOIN LATERAL (
        SELECT
            chunk_id, point_count, steps, timestamps, point_values,
            i.chunks_end - sum(point_count) OVER (ORDER BY chunk_id DESC) AS start
        FROM metric_chunks
        WHERE metric_id = i.metric_id
    ) AS c
    WHERE c.start < i.last
        AND c.start + c.point_count > i.first
    ORDER BY i.metric_id, c.chunk_id
"""

_SELECT_ROWS = """
    SELECT i.metric_id, p.timestamp, p.step, p.value
    FROM unnest(
        %(metric_ids)s::bigint[], %(skipped)s::bigint[], %(wanted)s::bigint[]
    ) AS i (metric_id, skipped, wanted)
    CROSS JOIN LATERAL (
        SELECT place, timestamp, step, value
        FROM metric_points
        WHERE metric_id = i.metric_id
        ORDER BY place DESC NULLS LAST, timestamp DESC, step DESC
        OFFSET i.skipped
        LIMIT i.wanted
    ) AS p
    ORDER BY i.metric_id, p.place NULLS FIRST, p.timestamp, p.step
"""

_SELECT_SORT = """
    SELECT places
    FROM metric_sorts
    WHERE metric_id = %(metric_id)s
        AND sort_count = %(sort_count)s
"""


MetricT = TypeVar("MetricT", bound=Metric)


@dataclass(frozen=True)
class Span(Generic[MetricT]):
    """The points of a metric at the places from `first` to before `last`, in the order of arrival."""

    metric: MetricT
    first: int
    last: int

    @property
    def chunks_end(self) -> int:
        """The place of the first point that is a row."""
        return self.metric.point_count - self.metric.pending_count


async def read(tx: Driver, spans: Sequence[Span[Any]]) -> list[Points]:
    """Return the points of spans, each of another metric, whose metrics were read in the same snapshot."""
    chunks = await _ask(tx, _SELECT_CHUNKS, [span for span in spans if span.first < span.chunks_end], _chunk_columns)
    rows = await _ask(tx, _SELECT_ROWS, [span for span in spans if span.last > span.chunks_end], _row_columns)
    parts: dict[int, list[Points]] = {span.metric.metric_id: [] for span in spans}
    within = {span.metric.metric_id: (span.first, span.last) for span in spans}
    for metric_id, start, *packed in await chunks.fetchall() if chunks else ():
        first, last = (max(place - int(start), 0) for place in within[metric_id])
        parts[metric_id].append(packing.unpacked(*packed).take(slice(first, last)))
    if rows:
        _add_rows(parts, await rows.fetchall())
    return [columns.concatenate([_NOTHING, *parts[span.metric.metric_id]]) for span in spans]


async def sort(tx: Driver, metric_id: int, sort_count: int) -> IntColumn | None:
    """Return how a metric was sorted, the places of its points before it; None if that is forgotten."""
    given = {"metric_id": metric_id, "sort_count": sort_count}
    row = await (await tx.execute(_SELECT_SORT, given, binary=True)).fetchone()
    return packing.unpack(row[0]) if row else None


_NOTHING = columns.points([], [], [])


async def _ask(tx: Driver, query: LiteralString, spans: Sequence[Span[Any]], given: Any) -> Any:
    return await tx.execute(query, given(spans), binary=True) if spans else None


def _chunk_columns(spans: Sequence[Span[Any]]) -> dict[str, IntColumn]:
    return {
        "metric_ids": _column(span.metric.metric_id for span in spans),
        "ends": _column(span.chunks_end for span in spans),
        "firsts": _column(span.first for span in spans),
        "lasts": _column(span.last for span in spans),
    }


def _row_columns(spans: Sequence[Span[Any]]) -> dict[str, IntColumn]:
    return {
        "metric_ids": _column(span.metric.metric_id for span in spans),
        "skipped": _column(span.metric.point_count - span.last for span in spans),
        "wanted": _column(span.last - max(span.first, span.chunks_end) for span in spans),
    }


def _column(numbers: Any) -> IntColumn:
    return np.fromiter(numbers, np.int64)


def _add_rows(parts: dict[int, list[Points]], rows: Sequence[tuple[Any, ...]]) -> None:
    of_metric: dict[int, list[tuple[Any, ...]]] = {}
    for metric_id, *point in rows:
        of_metric.setdefault(metric_id, []).append(tuple(point))
    for metric_id, points in of_metric.items():
        parts[metric_id].append(columns.points(*zip(*points, strict=True)))
