"""The SQL of making few large chunks of many small ones; services/tracking/metrics/store.py tells their layout.

Whoever merges holds the lock on the run, as those do who log.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from services.common.database import Driver
from services.tracking.metrics import columns, packing
from services.tracking.metrics import store as metrics_store
from services.tracking.metrics.columns import IntColumn, Points
from services.tracking.sealing.model import MetricState, Piece

_QUEUED = """
    SELECT run_id, change_count
    FROM sealing_queue
    WHERE run_id > %(after)s
    ORDER BY run_id
    LIMIT %(limit)s
"""

_COUNT_QUEUED = """
    SELECT count(*)
    FROM (
        SELECT
        FROM sealing_queue
        LIMIT %(limit)s
    ) AS counted
"""

_DEQUEUE = """
    DELETE FROM sealing_queue
    WHERE run_id = %(run_id)s
        AND change_count = %(change_count)s
"""

_CLAIM = "SELECT pg_try_advisory_xact_lock(hashtextextended('modelstead.sealing ' || %(run_id)s, 0))"

_LOCK = """
    SELECT status <> 'RUNNING' OR lifecycle_stage <> 'active'
    FROM runs
    WHERE run_id = %(run_id)s
        AND purge_time IS NULL
    FOR NO KEY UPDATE
"""

_SELECT_METRICS = """
    SELECT metric_id, point_count, pending_count, in_order
    FROM metrics
    WHERE run_id = %(run_id)s
        AND metric_id > %(after)s
    ORDER BY metric_id
    LIMIT %(limit)s
"""

_SELECT_PIECES = """
    SELECT metric_id, chunk_id, point_count
    FROM metric_chunks
    WHERE metric_id = ANY(%(metric_ids)s::bigint[])
    ORDER BY metric_id, chunk_id
"""

_TAKE_CHUNKS = """
    DELETE FROM metric_chunks
    WHERE metric_id = %(metric_id)s
        AND chunk_id = ANY(%(chunk_ids)s::bigint[])
    RETURNING chunk_id, steps, timestamps, point_values, ranks
"""

_INSERT_CHUNK = """
    INSERT INTO metric_chunks (
        metric_id, chunk_id, point_count, step_min, step_max, timestamp_max, steps, timestamps, point_values, ranks
    )
    VALUES (
        %(metric_id)s, coalesce(%(chunk_id)s::bigint, nextval(pg_get_serial_sequence('metric_chunks', 'chunk_id'))),
        %(point_count)s, %(step_min)s, %(step_max)s, %(timestamp_max)s, %(steps)s, %(timestamps)s, %(point_values)s,
        %(ranks)s
    )
"""

_NO_PENDING = "UPDATE metrics SET pending_count = 0 WHERE metric_id = %(metric_id)s"

_SET_ORDER = """
    WITH sorted AS (
        UPDATE metrics
        SET in_order = true,
            point_count = %(point_count)s,
            sort_count = sort_count + 1
        WHERE metric_id = %(metric_id)s
        RETURNING metric_id, sort_count
    )
    INSERT INTO metric_sorts (metric_id, sort_count, sort_time, places)
    SELECT metric_id, sort_count, extract(epoch FROM clock_timestamp()) * 1000, %(places)s
    FROM sorted
"""

_FORGET_SORTS = """
    DELETE FROM metric_sorts
    WHERE ctid = ANY(ARRAY(
        SELECT ctid
        FROM metric_sorts
        WHERE sort_time < (extract(epoch FROM clock_timestamp()) - %(age_s)s) * 1000
        LIMIT %(limit)s
    ))
"""


async def queued(tx: Driver, *, after: str, limit: int) -> list[tuple[str, int]]:
    """Return runs that have logged since they were last looked after, by id, and how often they did."""
    rows = await (await tx.execute(_QUEUED, {"after": after, "limit": limit})).fetchall()
    return [(run_id, change_count) for run_id, change_count in rows]


async def count_queued(tx: Driver, *, limit: int = 10_000) -> int:
    """Return how many runs are queued, counting to `limit`."""
    row = await (await tx.execute(_COUNT_QUEUED, {"limit": limit})).fetchone()
    assert row, "a count is always there"
    return int(row[0])


async def dequeue(tx: Driver, run_id: str, *, change_count: int) -> None:
    """Take a run from the queue unless it has logged since."""
    await tx.execute(_DEQUEUE, {"run_id": run_id, "change_count": change_count})


async def lock(tx: Driver, run_id: str) -> bool | None:
    """Lock a run and return whether it is over; None if another worker has it, or if it is gone or going."""
    claimed = await tx.execute(_CLAIM, {"run_id": run_id})
    if await claimed.fetchone() != (True,):
        return None
    row = await (await tx.execute(_LOCK, {"run_id": run_id})).fetchone()
    return row[0] if row else None


async def metrics_of(tx: Driver, run_id: str, *, after: int, limit: int) -> list[MetricState]:
    """Return how a run's metrics are stored, by id."""
    given = {"run_id": run_id, "after": after, "limit": limit}
    rows = await (await tx.execute(_SELECT_METRICS, given)).fetchall()
    found = await tx.execute(_SELECT_PIECES, {"metric_ids": [row[0] for row in rows]})
    pieces: dict[int, list[Piece]] = {row[0]: [] for row in rows}
    for metric_id, chunk_id, point_count in await found.fetchall():
        pieces[metric_id].append(Piece(chunk_id, point_count))
    return [
        MetricState(
            metric_id=metric_id,
            point_count=point_count,
            pending_count=pending_count,
            in_order=in_order,
            pieces=pieces[metric_id],
        )
        for metric_id, point_count, pending_count, in_order in rows
    ]


async def take(tx: Driver, metric_id: int, chunk_ids: Sequence[int], *, with_pending: bool) -> Points:
    """Delete chunks, and the rows that wait, and return their points in the order of arrival."""
    given = {"metric_id": metric_id, "chunk_ids": list(chunk_ids)}
    rows = await (await tx.execute(_TAKE_CHUNKS, given, binary=True)).fetchall()
    parts = [packing.unpacked(*row[1:]) for row in sorted(rows, key=lambda row: row[0])]
    if with_pending:
        waiting = await metrics_store.take_points(tx, [metric_id])
        parts += waiting.values()
        await tx.execute(_NO_PENDING, {"metric_id": metric_id})
    return columns.concatenate(parts)


async def put(tx: Driver, metric_id: int, chunks: Iterable[tuple[int | None, Points]]) -> None:
    """Store chunks under their numbers, or new ones, greater than all there are."""
    for chunk_id, points in chunks:
        row: dict[str, Any] = {
            "metric_id": metric_id,
            "chunk_id": chunk_id,
            "point_count": len(points),
            "step_min": int(points.steps.min()),
            "step_max": int(points.steps.max()),
            "timestamp_max": int(points.timestamps.max()),
            "steps": packing.pack(points.steps),
            "timestamps": packing.pack(points.timestamps),
            "point_values": packing.pack_values(points.values),
            "ranks": packing.pack_ranks(points),
        }
        await tx.execute(_INSERT_CHUNK, row)


async def set_order(tx: Driver, metric_id: int, *, places: IntColumn) -> None:
    """Note that a metric's points are in order, and where, in the order of arrival, each of them stood before."""
    given = {"metric_id": metric_id, "point_count": len(places), "places": packing.pack(places)}
    await tx.execute(_SET_ORDER, given)


async def forget_sorts(tx: Driver, *, age_s: int, limit: int) -> None:
    """Forget the places before sorts that are older than so long, at most `limit` of them."""
    await tx.execute(_FORGET_SORTS, {"age_s": age_s, "limit": limit})
