"""The SQL of metrics and their points, and the only place that knows how points are laid out.

Few new points of a metric are rows of `metric_points`; many at once, or many that have waited, become a chunk. A chunk
takes the waiting rows with it, so that chunks by id, then rows by `place`, are in the order of arrival. Writers hold
the lock on the run (services/tracking/run_logs/store.py), so that nobody else appends to its metrics meanwhile. In the
background services/tracking/sealing makes few large chunks of many small ones.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import numpy as np

from services.common.database import Cursor, Driver
from services.tracking.metrics import columns, model, packing
from services.tracking.metrics.columns import BoolColumn, IntColumn, Points
from services.tracking.metrics.model import Append, Latest, Metric

_SELECT_LATEST = """
    SELECT
        i.ordinal - 1, m.metric_id, m.value, m.is_nan, m.timestamp, m.step, m.point_count, m.pending_count, m.in_order
    FROM unnest(%(run_ids)s::text[], %(keys)s::text[]) WITH ORDINALITY AS i (run_id, key, ordinal)
    JOIN metrics AS m
        ON m.run_id = i.run_id
        AND m.key = i.key
"""

_UPSERT_LATEST = """
    INSERT INTO metrics (run_id, key, value, is_nan, timestamp, step, point_count, pending_count, in_order)
    SELECT *
    FROM unnest(
        %(run_ids)s::text[], %(keys)s::text[], %(values)s::float8[], %(is_nan)s::boolean[],
        %(timestamps)s::bigint[], %(steps)s::bigint[], %(point_counts)s::bigint[],
        %(pending_counts)s::bigint[], %(in_order)s::boolean[]
    )
    ON CONFLICT (run_id, key) DO UPDATE
    SET value = excluded.value,
        is_nan = excluded.is_nan,
        timestamp = excluded.timestamp,
        step = excluded.step,
        point_count = excluded.point_count,
        pending_count = excluded.pending_count,
        in_order = excluded.in_order
    RETURNING run_id, key, metric_id
"""

_INSERT_POINTS = """
    INSERT INTO metric_points (metric_id, place, timestamp, step, value, rank)
    SELECT i.metric_id, i.place, i.timestamp, i.step, i.value, nullif(i.rank, -1)
    FROM unnest(
        %(metric_ids)s::bigint[], %(places)s::bigint[], %(timestamps)s::bigint[], %(steps)s::bigint[],
        %(values)s::float8[], %(ranks)s::bigint[]
    ) AS i (metric_id, place, timestamp, step, value, rank)
"""

_TAKE_POINTS = """
    WITH taken AS (
        DELETE FROM metric_points
        WHERE metric_id = ANY(%(metric_ids)s::bigint[])
        RETURNING metric_id, place, timestamp, step, value, rank
    )
    SELECT metric_id, timestamp, step, value, coalesce(rank, -1)
    FROM taken
    ORDER BY metric_id, place NULLS FIRST, timestamp, step
"""

_INSERT_CHUNKS = """
    INSERT INTO metric_chunks (
        metric_id, point_count, step_min, step_max, timestamp_max, steps, timestamps, point_values, ranks
    )
    SELECT *
    FROM unnest(
        %(metric_ids)s::bigint[], %(point_counts)s::bigint[], %(step_mins)s::bigint[],
        %(step_maxs)s::bigint[], %(timestamp_maxs)s::bigint[], %(steps)s::bytea[],
        %(timestamps)s::bytea[], %(point_values)s::bytea[], %(ranks)s::bytea[]
    )
"""

_SELECT_METRICS = """
    SELECT metric_id, run_id, key, point_count, pending_count, in_order
    FROM metrics
    WHERE run_id = ANY(%(run_ids)s::text[])
        AND key = %(key)s
    ORDER BY run_id
"""

# Rows that a release before this one wrote have no place.
_SELECT_POINTS = """
    SELECT timestamp, step, value, coalesce(rank, -1)
    FROM metric_points
    WHERE metric_id = %(metric_id)s
    ORDER BY place NULLS FIRST, timestamp, step
"""

_SELECT_CHUNKS = """
    SELECT steps, timestamps, point_values, ranks
    FROM metric_chunks
    WHERE metric_id = %(metric_id)s
        AND step_max >= %(step_min)s
        AND step_min <= %(step_max)s
    ORDER BY chunk_id
"""

_COUNT_POINTS = """
    SELECT (
        SELECT coalesce(sum(point_count), 0)::bigint
        FROM metric_chunks
        WHERE metric_id = %(metric_id)s
            AND step_max >= %(step_min)s
            AND step_min <= %(step_max)s
    ) + (
        SELECT count(*)
        FROM metric_points
        WHERE metric_id = %(metric_id)s
    )
"""

_SELECT_CHUNKS_AFTER = """
    SELECT steps, timestamps, point_values, ranks, chunk_id, is_last
    FROM (
        SELECT
            chunk_id, steps, timestamps, point_values, ranks,
            sum(point_count) OVER (ORDER BY chunk_id) - point_count AS points_before,
            lead(chunk_id) OVER (ORDER BY chunk_id) IS NULL AS is_last
        FROM metric_chunks
        WHERE metric_id = %(metric_id)s
            AND chunk_id > %(after_chunk)s
            AND (timestamp_max, step_max) >= (%(timestamp)s::bigint, %(step)s::bigint)
    ) AS chunks
    WHERE points_before < %(limit)s
    ORDER BY chunk_id
"""

_ENQUEUE = """
    INSERT INTO sealing_queue (run_id, change_count)
    SELECT i.run_id, 1
    FROM unnest(%(run_ids)s::text[]) AS i (run_id)
    ON CONFLICT (run_id) DO UPDATE
    SET change_count = sealing_queue.change_count + 1
"""

# A run without metrics has nothing to be looked after.
_ENQUEUE_ENDED = """
    INSERT INTO sealing_queue (run_id, change_count)
    SELECT i.run_id, 1
    FROM unnest(%(run_ids)s::text[]) AS i (run_id)
    WHERE EXISTS (
        SELECT
        FROM metrics
        WHERE run_id = i.run_id
    )
    ON CONFLICT (run_id) DO UPDATE
    SET change_count = sealing_queue.change_count + 1
"""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class LatestQuery:
    """A question for the state of the metrics of an Append, sent but not yet answered."""

    names: dict[str, list[str]]
    answer: Cursor


async def ask_latest(tx: Driver, new: Append) -> LatestQuery:
    """Ask for the state of the metrics that `new` extends; the lock on their runs is asked for before."""
    names = {"run_ids": [run_id for run_id, _ in new.metrics], "keys": [key for _, key in new.metrics]}
    return LatestQuery(names, await tx.execute(_SELECT_LATEST, names))


async def append(tx: Driver, new: Append, query: LatestQuery) -> None:
    """Store new points and bring the latest ones up to date."""
    known, metric_ids = await _answered(query, len(new.metrics))
    latest = model.extend(known, new)
    are_many = latest.pending_counts >= model.pending_points_max(metric_ids)
    is_chunked = (new.counts >= model.CHUNK_POINTS_MIN) | are_many
    upserted = await tx.execute(
        _UPSERT_LATEST,
        {
            **query.names,
            "values": latest.values,
            "is_nan": latest.is_nan,
            "timestamps": latest.timestamps,
            "steps": latest.steps,
            "point_counts": latest.point_counts,
            "pending_counts": np.where(is_chunked, 0, latest.pending_counts),
            "in_order": latest.in_order,
        },
    )
    if not known.exists.all():
        # Only then: the answer is waited for.
        id_of = {(run_id, key): metric_id for run_id, key, metric_id in await upserted.fetchall()}
        metric_ids = np.array([id_of[metric] for metric in new.metrics], np.int64)
    if not is_chunked.all():
        await _insert_points(tx, new, known, metric_ids, ~is_chunked)
    if is_chunked.any():
        await enqueue(tx, {new.metrics[place][0] for place in np.flatnonzero(is_chunked).tolist()})
        waiting = metric_ids[is_chunked & (known.pending_counts > 0)]
        taken = await take_points(tx, waiting) if len(waiting) else {}
        places = np.flatnonzero(is_chunked).tolist()
        await _insert_chunks(tx, {int(metric_ids[place]): _joined(new, place, metric_ids, taken) for place in places})


async def find(tx: Driver, run_ids: Sequence[str], key: str) -> list[Metric]:
    """Return the metric `key` of those of the runs that have it, by run id."""
    rows = await _fetch(tx, _SELECT_METRICS, {"run_ids": list(run_ids), "key": key})
    return [Metric(**dict(zip(Metric.__slots__, row, strict=True))) for row in rows]


async def all_points(tx: Driver, metric: Metric, *, step_min: int = INT64_MIN, step_max: int = INT64_MAX) -> Points:
    """Return every point with step_min <= step <= step_max, in no order and with duplicates."""
    bounds = {"metric_id": metric.metric_id, "step_min": step_min, "step_max": step_max}
    chunks = await _fetch(tx, _SELECT_CHUNKS, bounds)
    found = columns.concatenate([*map(_unpacked, chunks), await pending(tx, metric)])
    return found.take((found.steps >= step_min) & (found.steps <= step_max))


async def count_points(tx: Driver, metric: Metric, *, step_min: int, step_max: int) -> int:
    """Return how many points `all_points` reads, before it leaves out those of other steps."""
    [(count,)] = await _fetch(
        tx, _COUNT_POINTS, {"metric_id": metric.metric_id, "step_min": step_min, "step_max": step_max}
    )
    return int(count)


async def points_from(
    tx: Driver, metric: Metric, timestamp: int, step: int, *, after_chunk: int, limit: int
) -> tuple[Points, int | None]:
    """Return points of a metric in the order of arrival: those from (timestamp, step) on and perhaps some before, but
    for those in chunks up to `after_chunk`.

    At least `limit` of them, or all; the second value is the last chunk that is among them, None if it was all.
    """
    query = {
        "metric_id": metric.metric_id, "timestamp": timestamp, "step": step, "after_chunk": after_chunk, "limit": limit,
    }  # fmt: skip
    chunks = await _fetch(tx, _SELECT_CHUNKS_AFTER, query)
    parts = [_unpacked(chunk) for chunk in chunks]
    if not chunks or chunks[-1][-1]:
        parts.append((await pending(tx, metric)).by_time())
        return columns.concatenate(parts), None
    return columns.concatenate(parts), chunks[-1][-2]


async def _answered(query: LatestQuery, count: int) -> tuple[Latest, IntColumn]:
    latest, metric_ids = model.unknown(count), np.zeros(count, np.int64)
    rows = await query.answer.fetchall()
    if rows:
        places, *known = (list(column) for column in zip(*rows, strict=True))
        targets = (
            metric_ids, latest.values, latest.is_nan, latest.timestamps, latest.steps,
            latest.point_counts, latest.pending_counts, latest.in_order,
        )  # fmt: skip
        for target, column in zip(targets, known, strict=True):
            target[places] = column
        latest.exists[places] = True
    return latest, metric_ids


async def _insert_points(tx: Driver, new: Append, known: Latest, metric_ids: IntColumn, is_kept: BoolColumn) -> None:
    is_row = np.repeat(is_kept, new.counts)
    kept = new.points.take(is_row)
    # Of all points of a metric, in the order of arrival.
    places = np.arange(len(new.points)) + np.repeat(known.point_counts - new.starts, new.counts)
    await tx.execute(
        _INSERT_POINTS,
        {
            "metric_ids": np.repeat(metric_ids[is_kept], new.counts[is_kept]),
            "places": places[is_row],
            "timestamps": kept.timestamps,
            "steps": kept.steps,
            "values": kept.values,
            "ranks": kept.ranks,
        },
    )


async def enqueue(tx: Driver, run_ids: Collection[str]) -> None:
    """Have the chunks of locked runs looked after (services/tracking/sealing)."""
    await tx.execute(_ENQUEUE, {"run_ids": sorted(run_ids)})


async def enqueue_ended(tx: Driver, run_ids: Collection[str]) -> None:
    """Have what locked runs that have ended hold of metrics looked after, as `enqueue`."""
    await tx.execute(_ENQUEUE_ENDED, {"run_ids": sorted(run_ids)})


async def take_points(tx: Driver, metric_ids: IntColumn | Sequence[int]) -> dict[int, Points]:
    """Delete the rows of metrics and return their points, in the order of arrival."""
    taken: dict[int, list[tuple[int, int, float, int]]] = {}
    for metric_id, *point in await _fetch(tx, _TAKE_POINTS, {"metric_ids": metric_ids}):
        taken.setdefault(metric_id, []).append(tuple(point))
    return {metric_id: _points(rows) for metric_id, rows in taken.items()}


def _joined(new: Append, place: int, metric_ids: IntColumn, taken: dict[int, Points]) -> Points:
    waiting = taken.get(int(metric_ids[place]))
    return columns.concatenate([waiting, new.of_metric(place)]) if waiting else new.of_metric(place)


async def _insert_chunks(tx: Driver, chunks: dict[int, Points]) -> None:
    parts = list(chunks.values())
    await tx.execute(
        _INSERT_CHUNKS,
        {
            "metric_ids": np.array(list(chunks), np.int64),
            "point_counts": np.array([len(part) for part in parts], np.int64),
            "step_mins": np.array([part.steps.min() for part in parts], np.int64),
            "step_maxs": np.array([part.steps.max() for part in parts], np.int64),
            "timestamp_maxs": np.array([part.timestamps.max() for part in parts], np.int64),
            "steps": [packing.pack(part.steps) for part in parts],
            "timestamps": [packing.pack(part.timestamps) for part in parts],
            "point_values": [packing.pack_values(part.values) for part in parts],
            "ranks": [packing.pack_ranks(part) for part in parts],
        },
    )


async def pending(tx: Driver, metric: Metric) -> Points:
    """Return the points of a metric that are rows, in the order of arrival."""
    return _points(await _fetch(tx, _SELECT_POINTS, {"metric_id": metric.metric_id}))


async def _fetch(tx: Driver, query: LiteralString, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await tx.execute(query, values, binary=True)).fetchall()


def _points(rows: Sequence[Any]) -> Points:
    timestamps, steps, values, ranks = zip(*rows, strict=True) if rows else ((), (), (), ())
    return columns.points(timestamps, steps, values, ranks)


def _unpacked(chunk: tuple[Any, ...]) -> Points:
    return packing.unpacked(*chunk[:4])
