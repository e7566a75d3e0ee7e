# ruff: noqa: S608 - statements are put together from the constants of this module alone
"""The SQL of removing for good: what can go, what makes that final, and deleting it by steps of bounded size.

Metric points carry no foreign key, so they go before the rows that lead to them; then what hangs on the resource, a
batch at a time, lest one cascade outlast the statement timeout; the resource's own row is the last.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import TextClause, text

from services.common.database import Tx
from services.tracking.retention.model import Kind

Id = str | int
"""Of a run or a logged model a text, of an experiment its number."""

METRICS_A_STEP = 100
# A chunk holds up to as many points as one request can carry, some 20 MB.
CHUNKS_A_STEP = 50
ROWS_A_STEP = 10_000

# What can go: a deletion that is final, or one that is old enough. Nothing about a deleted experiment can be updated,
# so that its last update was its deletion; a deleted model may be, and then counts as deleted later.
_RUN_CAN_GO = """
    (r.purge_time IS NOT NULL OR (r.lifecycle_stage = 'deleted' AND r.deleted_time < :deleted_before))
"""
_EXPERIMENT_IS_OLD = "(e.lifecycle_stage = 'deleted' AND e.last_update_time < :deleted_before)"
_MODEL_CAN_GO = f"""
    (
        m.purge_time IS NOT NULL
        OR (m.lifecycle_stage = 'deleted' AND m.last_updated_timestamp_ms < :deleted_before)
        OR {_EXPERIMENT_IS_OLD}
    )
"""
# The default experiment, number 0, is there for good.
_EXPERIMENT_CAN_GO = f"""
    e.experiment_id <> 0
    AND (e.purge_time IS NOT NULL OR {_EXPERIMENT_IS_OLD})
    AND NOT EXISTS (SELECT FROM runs AS r WHERE r.experiment_id = e.experiment_id)
    AND NOT EXISTS (SELECT FROM logged_models AS m WHERE m.experiment_id = e.experiment_id)
"""

_FIND = {
    Kind.RUN: text(f"""
        SELECT r.run_id, r.artifact_uri, false
        FROM runs AS r
        WHERE r.run_id > :after
            AND {_RUN_CAN_GO}
        ORDER BY r.run_id
        LIMIT :limit
    """),
    Kind.LOGGED_MODEL: text(f"""
        SELECT m.model_id, m.artifact_uri, false
        FROM logged_models AS m
        JOIN experiments AS e
            ON e.experiment_id = m.experiment_id
        WHERE m.model_id > :after
            AND {_MODEL_CAN_GO}
        ORDER BY m.model_id
        LIMIT :limit
    """),
    Kind.EXPERIMENT: text(f"""
        SELECT
            e.experiment_id, e.artifact_location,
            EXISTS (
                SELECT
                FROM experiments AS other
                WHERE other.experiment_id <> e.experiment_id
                    AND starts_with(rtrim(other.artifact_location, '/') || '/', e.artifact_location || '/')
            )
        FROM experiments AS e
        WHERE e.experiment_id > :after
            AND {_EXPERIMENT_CAN_GO}
        ORDER BY e.experiment_id
        LIMIT :limit
    """),
}
FIRST: Mapping[Kind, Id] = {Kind.RUN: "", Kind.LOGGED_MODEL: "", Kind.EXPERIMENT: 0}

# Whoever restores the resource, or adds to it, takes a lock that waits for this one.
_LOCK = {
    Kind.RUN: text("SELECT purge_time FROM runs WHERE run_id = :id FOR NO KEY UPDATE"),
    Kind.LOGGED_MODEL: text("SELECT purge_time FROM logged_models WHERE model_id = :id FOR NO KEY UPDATE"),
    Kind.EXPERIMENT: text("SELECT purge_time FROM experiments WHERE experiment_id = :id FOR NO KEY UPDATE"),
}
_LOCK_EXPERIMENT_OF_MODEL = text("""
    SELECT
    FROM experiments
    WHERE experiment_id = (SELECT experiment_id FROM logged_models WHERE model_id = :id)
    FOR SHARE
""")
_BEGIN = {
    Kind.RUN: text(f"""
        UPDATE runs AS r
        SET purge_time = coalesce(r.purge_time, :now)
        WHERE r.run_id = :id
            AND {_RUN_CAN_GO}
    """),
    Kind.LOGGED_MODEL: text(f"""
        UPDATE logged_models AS m
        SET purge_time = coalesce(m.purge_time, :now),
            lifecycle_stage = 'deleted'
        FROM experiments AS e
        WHERE m.model_id = :id
            AND e.experiment_id = m.experiment_id
            AND {_MODEL_CAN_GO}
    """),
    Kind.EXPERIMENT: text(f"""
        UPDATE experiments AS e
        SET purge_time = coalesce(e.purge_time, :now)
        WHERE e.experiment_id = :id
            AND {_EXPERIMENT_CAN_GO}
    """),
}

_METRICS = text("""
    SELECT metric_id
    FROM metrics
    WHERE run_id = :id
    ORDER BY key
    LIMIT :limit
""")
_DELETE_METRICS = text("DELETE FROM metrics WHERE metric_id = ANY(CAST(:ids AS bigint[]))")


def _delete_some(table: str, condition: str) -> TextClause:
    return text(f"""
        DELETE FROM {table}
        WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT :limit))
    """)


_OF_METRICS = "metric_id = ANY(CAST(:ids AS bigint[]))"
_DELETE_CHUNKS = _delete_some("metric_chunks", _OF_METRICS)
_DELETE_POINTS = _delete_some("metric_points", _OF_METRICS)
_DELETE_SORTS = text(f"DELETE FROM metric_sorts WHERE {_OF_METRICS}")
# What hangs on a resource, then the resource.
_DELETE = {
    Kind.RUN: [
        _delete_some(table, "run_id = :id")
        for table in ("run_params", "run_tags", "run_datasets", "run_models", "run_ranks", "runs")
    ],
    Kind.LOGGED_MODEL: [
        _delete_some(table, "model_id = :id")
        for table in ("logged_model_metrics", "logged_model_params", "logged_model_tags", "logged_models")
    ],
    Kind.EXPERIMENT: [
        _delete_some(table, "experiment_id = :id") for table in ("datasets", "experiment_tags", "experiments")
    ],
}


async def find(tx: Tx, kind: Kind, *, deleted_before: int, after: Id, limit: int) -> list[tuple[Id, str, bool]]:
    """Return (id, artifact URI, whether another experiment's artifacts are below it) of what can go, by id."""
    given = {"deleted_before": deleted_before, "after": after, "limit": limit}
    return [(row[0], row[1], row[2]) for row in await tx.execute(_FIND[kind], given)]


async def lock(tx: Tx, kind: Kind, resource_id: Id) -> bool | None:
    """Lock a resource and return whether its purge has begun; None if it does not exist."""
    row = (await tx.execute(_LOCK[kind], {"id": resource_id})).first()
    return None if row is None else row.purge_time is not None


async def begin(tx: Tx, kind: Kind, resource_id: Id, *, deleted_before: int, now: int) -> bool:
    """Mark a locked resource as being purged if it can be. Returns whether it is marked."""
    if kind is Kind.LOGGED_MODEL:
        await tx.execute(_LOCK_EXPERIMENT_OF_MODEL, {"id": resource_id})
    given = {"id": resource_id, "deleted_before": deleted_before, "now": now}
    return (await tx.execute(_BEGIN[kind], given)).rowcount > 0


async def delete_some(tx: Tx, kind: Kind, resource_id: Id) -> bool:
    """Delete a bounded part of a resource. Returns whether nothing of it is left."""
    if kind is Kind.RUN and await _delete_some_points(tx, resource_id):
        return False
    for statement in _DELETE[kind]:
        if await _count(tx, statement, {"id": resource_id, "limit": ROWS_A_STEP}) == ROWS_A_STEP:
            return False
    return True


async def _delete_some_points(tx: Tx, run_id: Id) -> bool:
    """Delete a bounded part of a run's metrics. Returns whether there were any."""
    rows = await tx.execute(_METRICS, {"id": run_id, "limit": METRICS_A_STEP})
    metric_ids: Sequence[int] = rows.scalars().all()
    if not metric_ids:
        return False
    given = {"ids": list(metric_ids)}
    chunks = await _count(tx, _DELETE_CHUNKS, {**given, "limit": CHUNKS_A_STEP})
    points = await _count(tx, _DELETE_POINTS, {**given, "limit": ROWS_A_STEP})
    if chunks < CHUNKS_A_STEP and points < ROWS_A_STEP:
        await tx.execute(_DELETE_SORTS, given)
        await tx.execute(_DELETE_METRICS, given)
    return True


async def _count(tx: Tx, statement: TextClause, given: Mapping[str, Any]) -> int:
    return (await tx.execute(statement, given)).rowcount
