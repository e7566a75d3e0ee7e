"""The SQL of watching runs: whether they have changed, and what they are; points are read by their places in
services/tracking/metrics.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.common.database import Driver
from services.tracking.run_watches.model import Mark, RunState, WatchedMetric
from services.tracking.runs import store as runs_store

# Both are other texts after whatever changes what a watcher is told; a lock alone changes none. Parameters are only
# added, counts of points grow except in a sort, and a row that is written anew has another xmin.
_SELECT_MARKS = """
    SELECT
        r.run_id,
        concat_ws(
            ' ',
            r.xmin,
            (SELECT count(*) FROM run_params WHERE run_id = r.run_id),
            (
                SELECT concat_ws(' ', count(*), sum(hashint8(xmin::text::bigint)))
                FROM run_tags
                WHERE run_id = r.run_id
            )
        ),
        (
            SELECT concat_ws(' ', sum(point_count), sum(sort_count))
            FROM metrics
            WHERE run_id = r.run_id
        )
    FROM runs AS r
    WHERE r.run_id = ANY(%(run_ids)s::text[])
"""

_METRIC_COLUMNS = """
        metric_id, run_id, key, point_count, pending_count, in_order, sort_count,
        CASE WHEN is_nan THEN 'NaN' ELSE value END AS value, timestamp, step
"""

_SELECT_METRICS = (
    "SELECT"  # noqa: S608 -- of fixed parts
    + _METRIC_COLUMNS
    + """
    FROM metrics
    WHERE metric_id IN (
        (
            SELECT metric_id
            FROM metrics
            WHERE run_id = %(run_id)s
            -- Not by the index of all metrics in the order of their ids.
            ORDER BY metric_id + 0
            LIMIT %(first_count)s
        )
        UNION
        SELECT metric_id
        FROM metrics
        WHERE run_id = %(run_id)s
            AND key = ANY(%(keys)s::text[])
    )
    ORDER BY metric_id
"""
)

_SELECT_SOME_METRICS = (
    "SELECT"
    + _METRIC_COLUMNS
    + """
    FROM metrics
    WHERE run_id = %(run_id)s
        AND metric_id = ANY(%(metric_ids)s::bigint[])
    ORDER BY metric_id
"""
)

_SELECT_PARAMS = "SELECT key, value FROM run_params WHERE run_id = %(run_id)s"


async def marks(tx: Driver, run_ids: Collection[str]) -> dict[str, Mark]:
    """Return the marks of those of the runs that exist."""
    rows = await (await tx.execute(_SELECT_MARKS, {"run_ids": list(run_ids)})).fetchall()
    return {run_id: Mark(state, points) for run_id, state, points in rows}


async def metrics(tx: Driver, run_id: str, *, keys: Collection[str], first_count: int) -> list[WatchedMetric]:
    """Return a run's metrics of the keys, and those that were logged first, by id."""
    given = {"run_id": run_id, "keys": list(keys), "first_count": first_count}
    return await _metrics(tx, _SELECT_METRICS, given)


async def some_metrics(tx: Driver, run_id: str, metric_ids: Sequence[int]) -> list[WatchedMetric]:
    """Return those of a run's metrics that exist, by id."""
    return await _metrics(tx, _SELECT_SOME_METRICS, {"run_id": run_id, "metric_ids": list(metric_ids)})


async def state(tx: Driver, run_id: str) -> RunState | None:
    """Return what a run is."""
    info = await runs_store.get(tx, run_id)
    if info is None:
        return None
    params = dict(await (await tx.execute(_SELECT_PARAMS, {"run_id": run_id})).fetchall())
    return RunState(info=info, params=params, tags=await runs_store.tags_of(tx, run_id))


async def _metrics(tx: Driver, query: Any, given: Mapping[str, Any]) -> list[WatchedMetric]:
    names = WatchedMetric.__dataclass_fields__
    rows = await (await tx.execute(query, given, binary=True)).fetchall()
    return [WatchedMetric(**dict(zip(names, row, strict=True))) for row in rows]
