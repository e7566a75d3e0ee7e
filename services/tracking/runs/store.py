"""The SQL of runs: rows, search, and what a page of runs shows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ColumnElement, FromClause, Table, and_, case, func, not_, or_, select

from services.common import keyset
from services.common.comparisons import compare, has_row
from services.common.database import Driver, Tx
from services.common.filters import NULLS, Comparison, OrderBy
from services.tracking.datasets.model import (
    CONTEXT_TAG,
    Dataset,
    DatasetInput,
    ModelInput,
    ModelOutput,
    RunInputs,
    RunOutputs,
)
from services.tracking.run_logs.model import RUN_NAME_TAG
from services.tracking.runs.model import LatestMetrics, Run, RunData, RunInfo
from services.tracking.tables import datasets, metrics, run_datasets, run_params, run_tags, runs

_INFO = [runs.c[name] for name in RunInfo.__slots__]

_INSERT = """
    WITH added AS (
        INSERT INTO runs (
            run_id, experiment_id, run_name, user_id, status, start_time, end_time, artifact_uri, lifecycle_stage
        )
        VALUES (
            %(run_id)s, %(experiment_id)s, %(run_name)s, %(user_id)s, %(status)s, %(start_time)s, %(end_time)s,
            %(artifact_uri)s, %(lifecycle_stage)s
        )
        ON CONFLICT DO NOTHING
        RETURNING run_id
    )
    INSERT INTO run_tags (run_id, key, value)
    SELECT added.run_id, i.*
    FROM added, unnest(%(tag_keys)s::text[], %(tag_values)s::text[]) AS i (key, value)
"""

_SELECT = """
    SELECT run_id, experiment_id, run_name, user_id, status, start_time, end_time, artifact_uri, lifecycle_stage
    FROM runs
    WHERE run_id = %(run_id)s
"""

_SELECT_LOCKED = _SELECT + "FOR NO KEY UPDATE"

_UPDATE = """
    UPDATE runs
    SET status = coalesce(%(status)s, status),
        end_time = coalesce(%(end_time)s, end_time),
        run_name = coalesce(%(run_name)s, run_name),
        follows_ranks = follows_ranks AND coalesce(%(status)s, 'RUNNING') = 'RUNNING'
    WHERE run_id = %(run_id)s
        AND lifecycle_stage = 'active'
    RETURNING run_id, experiment_id, run_name, user_id, status, start_time, end_time, artifact_uri, lifecycle_stage
"""

_UPDATE_STAGE = """
    UPDATE runs
    SET lifecycle_stage = %(stage)s,
        deleted_time = %(deleted_time)s
    WHERE run_id = %(run_id)s
        AND purge_time IS NULL
    RETURNING run_id
"""

# Everyone locks runs in the order of their ids, so that nobody waits for each other; what changed meanwhile stays.
_DELETE_STARTED = """
    WITH chosen AS (
        SELECT run_id
        FROM runs
        WHERE experiment_id = %(experiment_id)s
            AND start_time <= %(max_timestamp)s
            AND lifecycle_stage = 'active'
        ORDER BY start_time, run_id
        LIMIT %(limit)s
    ), locked AS MATERIALIZED (
        SELECT run_id
        FROM runs
        WHERE run_id IN (SELECT run_id FROM chosen)
            AND lifecycle_stage = 'active'
        ORDER BY run_id
        FOR NO KEY UPDATE
    ), moved AS (
        UPDATE runs
        SET lifecycle_stage = 'deleted',
            deleted_time = %(now_ms)s
        FROM locked
        WHERE runs.run_id = locked.run_id
        RETURNING runs.run_id
    )
    SELECT count(*)
    FROM moved
"""

_RESTORE_DELETED = """
    WITH chosen AS (
        SELECT run_id
        FROM runs
        WHERE experiment_id = %(experiment_id)s
            AND deleted_time >= %(min_timestamp)s
            AND lifecycle_stage = 'deleted'
            AND purge_time IS NULL
        ORDER BY deleted_time, run_id
        LIMIT %(limit)s
    ), locked AS MATERIALIZED (
        SELECT run_id
        FROM runs
        WHERE run_id IN (SELECT run_id FROM chosen)
            AND lifecycle_stage = 'deleted'
            AND purge_time IS NULL
        ORDER BY run_id
        FOR NO KEY UPDATE
    ), moved AS (
        UPDATE runs
        SET lifecycle_stage = 'active',
            deleted_time = NULL
        FROM locked
        WHERE runs.run_id = locked.run_id
        RETURNING runs.run_id
    )
    SELECT count(*)
    FROM moved
"""

_UPSERT_TAG = """
    INSERT INTO run_tags (run_id, key, value)
    VALUES (%(run_id)s, %(key)s, %(value)s)
    ON CONFLICT (run_id, key) DO UPDATE
    SET value = excluded.value
"""

_DELETE_TAG = "DELETE FROM run_tags WHERE run_id = %(run_id)s AND key = %(key)s RETURNING key"

_SELECT_TAGS = "SELECT key, value FROM run_tags WHERE run_id = %(run_id)s"

# One row a run, as rows of every tag and parameter cost more here than their aggregation does there. Metrics come as
# arrays, because JSON knows no NaN and no -0.0.
_SELECT_DETAILS = """
    SELECT
        m.keys, m.values, m.timestamps, m.steps,
        (SELECT json_object_agg(key, value)::text FROM run_params WHERE run_id = i.run_id),
        (SELECT json_object_agg(key, value)::text FROM run_tags WHERE run_id = i.run_id),
        (
            SELECT json_agg(
                json_build_object('tags', r.tags, 'dataset', json_build_object(
                    'name', d.name, 'digest', d.digest, 'source_type', d.source_type, 'source', d.source,
                    'schema', d.schema, 'profile', d.profile
                ))
                ORDER BY d.dataset_id
            )::text
            FROM run_datasets AS r
            JOIN datasets AS d USING (dataset_id)
            WHERE r.run_id = i.run_id
        ),
        (
            SELECT json_agg(json_build_array(direction, model_id, step) ORDER BY step, model_id)::text
            FROM run_models
            WHERE run_id = i.run_id
        )
    FROM unnest(%(run_ids)s::text[]) WITH ORDINALITY AS i (run_id, place)
    CROSS JOIN LATERAL (
        SELECT
            array_agg(key ORDER BY key) AS keys,
            array_agg(CASE WHEN is_nan THEN 'NaN' ELSE value END ORDER BY key) AS values,
            array_agg(timestamp ORDER BY key) AS timestamps,
            array_agg(step ORDER BY key) AS steps
        FROM metrics
        WHERE run_id = i.run_id
    ) AS m
    ORDER BY i.place
"""


async def add(tx: Driver, info: RunInfo, tags: Mapping[str, str]) -> None:
    """Insert a run with its tags, unless there is one of that id, which is then left as it is."""
    row = {name: getattr(info, name) for name in RunInfo.__slots__}
    await tx.execute(_INSERT, {**row, "tag_keys": list(tags), "tag_values": list(tags.values())})


async def get(tx: Driver, run_id: str, *, lock: bool = False) -> RunInfo | None:
    """Return a run, deleted or not; `lock` keeps others from logging to it until the transaction ends."""
    row = await (await tx.execute(_SELECT_LOCKED if lock else _SELECT, {"run_id": run_id})).fetchone()
    return _info(row) if row else None


async def update_active(
    tx: Driver, run_id: str, *, status: str | None, end_time: int | None, run_name: str | None
) -> RunInfo | None:
    """Change what is not None, and return the run, which is locked from then on; None if no such run is active."""
    given = {"run_id": run_id, "status": status, "end_time": end_time, "run_name": run_name}
    row = await (await tx.execute(_UPDATE, given)).fetchone()
    return _info(row) if row else None


async def set_stage(tx: Driver, run_id: str, *, stage: str, deleted_time: int | None) -> bool:
    """Return whether the run exists and is not being purged."""
    moved = await tx.execute(_UPDATE_STAGE, {"run_id": run_id, "stage": stage, "deleted_time": deleted_time})
    return await moved.fetchone() is not None


async def delete_started(tx: Driver, experiment_id: int, *, max_timestamp: int, limit: int, now_ms: int) -> int:
    """Mark up to `limit` active runs deleted that started at or before a time, the oldest first; return how many."""
    given = {"experiment_id": experiment_id, "max_timestamp": max_timestamp, "limit": limit, "now_ms": now_ms}
    return await _count(tx, _DELETE_STARTED, given)


async def restore_deleted(tx: Driver, experiment_id: int, *, min_timestamp: int, limit: int) -> int:
    """Make up to `limit` runs active that were deleted at or after a time, the first deleted first; return how many.

    Runs that are being purged are left alone.
    """
    given = {"experiment_id": experiment_id, "min_timestamp": min_timestamp, "limit": limit}
    return await _count(tx, _RESTORE_DELETED, given)


async def set_tag(tx: Driver, run_id: str, *, key: str, value: str) -> None:
    """Set a tag, over an older value."""
    await tx.execute(_UPSERT_TAG, {"run_id": run_id, "key": key, "value": value})


async def delete_tag(tx: Driver, run_id: str, *, key: str) -> bool:
    """Return whether the tag was set."""
    return await (await tx.execute(_DELETE_TAG, {"run_id": run_id, "key": key})).fetchone() is not None


async def tags_of(tx: Driver, run_id: str) -> dict[str, str]:
    """Return a run's tags."""
    return dict(await (await tx.execute(_SELECT_TAGS, {"run_id": run_id})).fetchall())


async def with_details(tx: Driver, infos: Sequence[RunInfo], *, with_model_inputs: bool) -> list[Run]:
    """Return the runs with their latest metrics, parameters, tags and links, in the order given."""
    run_ids = [info.run_id for info in infos]
    rows = await (await tx.execute(_SELECT_DETAILS, {"run_ids": run_ids}, binary=True)).fetchall()
    return [_run(info, row, with_model_inputs=with_model_inputs) for info, row in zip(infos, rows, strict=True)]


async def search(
    tx: Tx,
    *,
    experiment_ids: Sequence[int],
    stages: Sequence[str],
    filters: Iterable[Comparison],
    order: Sequence[OrderBy],
    position: tuple[Any, ...] | None,
    limit: int,
) -> tuple[list[RunInfo], list[tuple[Any, ...]]]:
    """Return up to `limit` runs after `position`, and the position of each.

    Missing values come last, NaN before them, in both directions (as MLflow 3.18, _get_orderby_clauses).
    """
    columns, source = _sort(order)
    query = (
        select(*_INFO, *keyset.labelled(columns))
        .select_from(source)
        .where(runs.c.experiment_id.in_(experiment_ids), runs.c.lifecycle_stage.in_(stages), *map(_matches, filters))
    )
    if position is not None:
        query = query.where(keyset.after(columns, position))
    rows = (await tx.execute(query.order_by(*keyset.order_by(columns)).limit(limit))).all()
    return [_info(row[: len(_INFO)]) for row in rows], [tuple(row[len(_INFO) :]) for row in rows]


def _sort(order: Sequence[OrderBy]) -> tuple[list[keyset.SortColumn], FromClause]:
    columns: list[keyset.SortColumn] = []
    source: FromClause = runs
    for term in order:
        if term.entity == "attribute":
            columns.append(keyset.sort_column(runs.c[term.key], term.ascending))
            continue
        pairs = _TABLE_OF[term.entity].alias()
        source = source.outerjoin(pairs, and_(pairs.c.run_id == runs.c.run_id, pairs.c.key == term.key))
        if term.entity == "metric":
            rank = case((pairs.c.is_nan, 1), (pairs.c.value.is_(None), 2), else_=0)
            columns.append(keyset.SortColumn(rank, True))
        columns.append(keyset.sort_column(pairs.c.value, term.ascending, nullable=True))
    if not any(term.entity == "attribute" and term.key == "start_time" for term in order):
        columns.append(keyset.SortColumn(runs.c.start_time, False))
    columns.append(keyset.sort_column(runs.c.run_id, True))
    return columns, source


_TABLE_OF: dict[str, Table] = {"metric": metrics, "param": run_params, "tag": run_tags}


def _matches(term: Comparison) -> ColumnElement[bool]:
    if term.entity == "dataset":
        return _uses_dataset(term)
    if term.entity == "attribute" and term.key != "run_name":
        return compare(runs.c[term.key], term.op, term.value)
    # The name is looked up in its tag, as in MLflow; a run without the tag matches no comparison of names.
    table = run_tags if term.entity == "attribute" else _TABLE_OF[term.entity]
    key = RUN_NAME_TAG if term.entity == "attribute" else term.key
    same = (table.c.run_id == runs.c.run_id, table.c.key == key)
    if term.op in NULLS:
        return not_(has_row(table, *same)) if term.op == "IS NULL" else has_row(table, *same)
    matches = compare(table.c.value, term.op, term.value)
    if table is metrics:
        # NaN is stored as 0, and is unequal to every number.
        matches = or_(matches, metrics.c.is_nan) if term.op == "!=" else and_(matches, not_(metrics.c.is_nan))
    return has_row(table, *same, matches)


def _uses_dataset(term: Comparison) -> ColumnElement[bool]:
    context = func.jsonb_extract_path_text(run_datasets.c.tags, CONTEXT_TAG)
    column = context if term.key == "context" else datasets.c[term.key]
    used = run_datasets.join(datasets, run_datasets.c.dataset_id == datasets.c.dataset_id)
    return has_row(used, run_datasets.c.run_id == runs.c.run_id, compare(column, term.op, term.value))


def _info(row: Sequence[Any]) -> RunInfo:
    run_id, experiment_id, run_name, user_id, status, start_time, end_time, artifact_uri, lifecycle_stage = row
    return RunInfo(
        run_id=run_id,
        experiment_id=str(experiment_id),
        run_name=run_name,
        user_id=user_id,
        status=status,
        start_time=start_time,
        end_time=end_time or None,
        artifact_uri=artifact_uri,
        lifecycle_stage=lifecycle_stage,
    )


def _run(info: RunInfo, row: Sequence[Any], *, with_model_inputs: bool) -> Run:
    keys, values, timestamps, steps, params, tags, inputs, models = row
    data = RunData(
        metrics=LatestMetrics(key=keys, value=values, timestamp=timestamps, step=steps) if keys else None,
        params=orjson.loads(params) if params else {},
        tags=orjson.loads(tags) if tags else {},
    )
    links = orjson.loads(models) if models else []
    used = [ModelInput(model_id=model_id) for direction, model_id, _ in links if direction == "input"]
    made = [ModelOutput(model_id=model_id, step=step) for direction, model_id, step in links if direction == "output"]
    datasets_used = [_dataset_input(item) for item in orjson.loads(inputs)] if inputs else []
    return Run(
        info=info,
        data=data,
        inputs=RunInputs(dataset_inputs=datasets_used, model_inputs=used if with_model_inputs else []),
        outputs=RunOutputs(model_outputs=made),
    )


def _dataset_input(item: Mapping[str, Any]) -> DatasetInput:
    return DatasetInput(tags=item["tags"], dataset=Dataset(**item["dataset"]))


async def _count(tx: Driver, statement: str, given: Mapping[str, Any]) -> int:
    row = await (await tx.execute(statement, given)).fetchone()
    assert row is not None, "an aggregate is one row"
    return int(row[0])
