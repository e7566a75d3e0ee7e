"""The SQL of reading single points of a metric by their places: of a large chunk only the bytes that hold them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.database import Driver
from services.tracking.metrics import columns, packing, store
from services.tracking.metrics.columns import IntColumn, Points
from services.tracking.metrics.model import Metric, bucket_starts

# A chunk with fewer points is read whole.
LARGE_POINTS_MIN = 4096

_SELECT_CHUNKS = """
    SELECT
        chunk_id, point_count, step_min, step_max, substring(steps FOR %(header)s),
        substring(timestamps FOR %(header)s), octet_length(point_values)
    FROM metric_chunks
    WHERE metric_id = %(metric_id)s
    ORDER BY chunk_id
"""

_SELECT_WHOLE = """
    SELECT chunk_id, steps, timestamps, point_values
    FROM metric_chunks
    WHERE metric_id = %(metric_id)s
        AND chunk_id = ANY(%(chunk_ids)s::bigint[])
"""

# Columns are stored as they are (STORAGE EXTERNAL), so that a part of one is read without the rest.
_SELECT_ENTRIES = """
    SELECT
        i.chunk_id,
        string_agg(substring(c.steps FROM h.start + i.place * i.step_width FOR i.step_width), '' ORDER BY i.place),
        string_agg(substring(c.timestamps FROM h.start + i.place * i.time_width FOR i.time_width), '' ORDER BY i.place),
        string_agg(substring(c.point_values FROM 1 + i.place * i.value_width FOR i.value_width), '' ORDER BY i.place)
    FROM unnest(
        %(chunk_ids)s::bigint[], %(places)s::bigint[]::int[], %(step_widths)s::bigint[]::int[],
        %(time_widths)s::bigint[]::int[], %(value_widths)s::bigint[]::int[]
    ) AS i (chunk_id, place, step_width, time_width, value_width)
    JOIN metric_chunks AS c
        ON c.metric_id = %(metric_id)s
        AND c.chunk_id = i.chunk_id
    CROSS JOIN (SELECT %(header)s::int + 1) AS h (start)
    GROUP BY i.chunk_id
"""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What is known of a chunk without its points."""

    chunk_id: int
    point_count: int
    step_min: int
    step_max: int
    step_header: bytes
    time_header: bytes
    value_bytes: int

    @property
    def is_large(self) -> bool:
        """Whether single points of it can be read, and it is worth it."""
        is_old = packing.is_old(self.step_header) or packing.is_old(self.time_header)
        return self.point_count >= LARGE_POINTS_MIN and not is_old


async def points_at(tx: Driver, metric: Metric, places: Sequence[int]) -> Points:
    """Return the points of a metric at the given places, ascending and counted from 0, in the order of arrival, without
    their ranks; of a metric in order that is its order.
    """
    chunks, starts = await _segments(tx, metric)
    return await _read(tx, metric, chunks, starts, np.maximum(np.asarray(places, np.int64), starts[0]))


async def sample(tx: Driver, metric: Metric, count: int, *, step_min: int, step_max: int) -> Points:
    """Return an even sample, by the order of arrival, of the points that may have a step from `step_min` to `step_max`,
    without those that have another one; as `points_at`, and at most `count`.
    """
    chunks, starts = await _segments(tx, metric)
    may_have = [chunk.step_max >= step_min and chunk.step_min <= step_max for chunk in chunks]
    counts = np.diff(starts, append=metric.point_count) * np.array([*may_have, True])
    ends = np.cumsum(counts)
    wanted = np.array(bucket_starts(int(ends[-1]), count), np.int64)
    segment_of = np.searchsorted(ends, wanted, side="right")
    points = await _read(tx, metric, chunks, starts, wanted + (starts - ends + counts)[segment_of])
    return points.take((points.steps >= step_min) & (points.steps <= step_max))


async def _segments(tx: Driver, metric: Metric) -> tuple[list[_Chunk], IntColumn]:
    """Return the chunks, and the places where they start, and after them the rows."""
    given = {"metric_id": metric.metric_id, "header": packing.HEADER_BYTES}
    chunks = [_Chunk(*row) for row in await _fetch(tx, _SELECT_CHUNKS, given)]
    starts = np.cumsum([0, *(chunk.point_count for chunk in chunks)], dtype=np.int64)
    # Earlier releases stored some points once that they had counted twice: so counted is from the end.
    return chunks, starts + metric.point_count - metric.pending_count - starts[-1]


async def _read(tx: Driver, metric: Metric, chunks: Sequence[_Chunk], starts: IntColumn, wanted: IntColumn) -> Points:
    segment_of = np.searchsorted(starts, wanted, side="right") - 1
    within = wanted - starts[segment_of]
    segments = np.unique(segment_of).tolist()
    large = [segment for segment in segments if segment < len(chunks) and chunks[segment].is_large]
    entries = await _entries(tx, metric, [(chunks[segment], within[segment_of == segment]) for segment in large])
    small = [chunks[segment] for segment in segments if segment < len(chunks) and segment not in set(large)]
    whole = await _whole(tx, metric, small)
    parts = [columns.points([], [], [])]
    for segment in segments:
        if segment == len(chunks):
            parts.append((await store.pending(tx, metric)).take(within[segment_of == segment]))
        elif chunks[segment].is_large:
            parts.append(entries[chunks[segment].chunk_id])
        else:
            parts.append(whole[chunks[segment].chunk_id].take(within[segment_of == segment]))
    return columns.concatenate(parts)


async def _entries(tx: Driver, metric: Metric, wanted: Sequence[tuple[_Chunk, IntColumn]]) -> dict[int, Points]:
    """Return single points of large chunks, by chunk."""
    if not wanted:
        return {}
    counts = [len(places) for _, places in wanted]

    def repeated(values: Iterable[int]) -> IntColumn:
        return np.repeat(np.fromiter(values, np.int64), counts)

    given = {
        "metric_id": metric.metric_id,
        "header": packing.HEADER_BYTES,
        "chunk_ids": repeated(chunk.chunk_id for chunk, _ in wanted),
        "places": np.concatenate([places for _, places in wanted]),
        "step_widths": repeated(packing.header(chunk.step_header).width for chunk, _ in wanted),
        "time_widths": repeated(packing.header(chunk.time_header).width for chunk, _ in wanted),
        "value_widths": repeated(chunk.value_bytes // chunk.point_count for chunk, _ in wanted),
    }
    packed = {row[0]: row[1:] for row in await _fetch(tx, _SELECT_ENTRIES, given)}
    return {chunk.chunk_id: _points(chunk, places, *packed[chunk.chunk_id]) for chunk, places in wanted}


def _points(chunk: _Chunk, places: IntColumn, steps: bytes, timestamps: bytes, values: bytes) -> Points:
    return Points(
        timestamps=packing.entries(packing.header(chunk.time_header), places, timestamps),
        steps=packing.entries(packing.header(chunk.step_header), places, steps),
        values=packing.unpack_values(values, len(places)),
        ranks=columns.of_rank(columns.NO_RANK, len(places)),
    )


async def _whole(tx: Driver, metric: Metric, chunks: Sequence[_Chunk]) -> dict[int, Points]:
    if not chunks:
        return {}
    given = {"metric_id": metric.metric_id, "chunk_ids": [chunk.chunk_id for chunk in chunks]}
    return {row[0]: packing.unpacked(*row[1:]) for row in await _fetch(tx, _SELECT_WHOLE, given)}


async def _fetch(tx: Driver, query: Any, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await tx.execute(query, values, binary=True)).fetchall()
