"""The SQL of runs: rows, search, and what a page of runs shows."""

import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Table,
    TextClause,
    and_,
    case,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from services.common import keyset
from services.common.comparisons import compare, has_row
from services.common.database import Tx
from services.common.filters import NULLS, Comparison, OrderBy
from services.tracking.datasets import store as datasets_store
from services.tracking.datasets.model import CONTEXT_TAG, ModelInput, ModelOutput, RunInputs, RunOutputs
from services.tracking.run_logs.model import RUN_NAME_TAG
from services.tracking.runs.model import LatestMetrics, Run, RunData, RunInfo
from services.tracking.tables import datasets, metrics, run_datasets, run_params, run_tags, runs

_INFO = [runs.c[name] for name in RunInfo.__slots__]

_SELECT_METRICS = text("""
    SELECT run_id, key, CASE WHEN is_nan THEN 'NaN' ELSE value END AS value, timestamp, step
    FROM metrics
    WHERE run_id = ANY(CAST(:run_ids AS text[]))
    ORDER BY run_id, key
""")

_SELECT_PARAMS = text("""
    SELECT run_id, key, value
    FROM run_params
    WHERE run_id = ANY(CAST(:run_ids AS text[]))
""")

_SELECT_TAGS = text("""
    SELECT run_id, key, value
    FROM run_tags
    WHERE run_id = ANY(CAST(:run_ids AS text[]))
""")


async def add(tx: Tx, info: RunInfo) -> None:
    row = {name: getattr(info, name) for name in RunInfo.__slots__}
    await tx.execute(insert(runs).values({**row, "experiment_id": int(info.experiment_id)}))


async def get(tx: Tx, run_id: str, *, lock: bool = False) -> RunInfo | None:
    """Return a run, deleted or not; `lock` keeps others from logging to it until the transaction ends."""
    query = select(*_INFO).where(runs.c.run_id == run_id)
    row = (await tx.execute(query.with_for_update(key_share=True) if lock else query)).first()
    return _info(row) if row else None


async def update(tx: Tx, run_id: str, *, status: str | None, end_time: int | None, run_name: str | None) -> None:
    """Change what is not None."""
    given = {"status": status, "end_time": end_time, "run_name": run_name}
    values = {name: value for name, value in given.items() if value is not None}
    if values:
        await tx.execute(runs.update().where(runs.c.run_id == run_id).values(values))


async def set_stage(tx: Tx, run_id: str, *, stage: str, deleted_time: int | None) -> bool:
    """Return whether the run exists and is not being purged."""
    moved = runs.update().where(runs.c.run_id == run_id, runs.c.purge_time.is_(None))
    return (await tx.execute(moved.values(lifecycle_stage=stage, deleted_time=deleted_time))).rowcount > 0


async def set_tags(tx: Tx, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, over older values."""
    rows = upsert(run_tags).values([{"run_id": run_id, "key": key, "value": value} for key, value in tags.items()])
    await tx.execute(rows.on_conflict_do_update(constraint="run_tags_pkey", set_={"value": rows.excluded.value}))


async def delete_tag(tx: Tx, run_id: str, *, key: str) -> bool:
    """Return whether the tag was set."""
    matches = (run_tags.c.run_id == run_id, run_tags.c.key == key)
    return (await tx.execute(delete(run_tags).where(*matches))).rowcount > 0


async def tags_of(tx: Tx, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the tags of those of the runs that have any."""
    return await _pairs_of(tx, _SELECT_TAGS, run_ids)


async def with_details(tx: Tx, infos: Sequence[RunInfo], *, with_model_inputs: bool) -> list[Run]:
    """Return the runs with their latest metrics, parameters, tags and links, in the order given."""
    run_ids = [info.run_id for info in infos]
    if not run_ids:
        return []
    params = await _pairs_of(tx, _SELECT_PARAMS, run_ids)
    tags = await tags_of(tx, run_ids)
    metrics_of_run = await _latest_of(tx, run_ids)
    inputs = await datasets_store.inputs_of(tx, run_ids)
    outputs = await datasets_store.models_of(tx, run_ids, direction="output")
    models = await datasets_store.models_of(tx, run_ids, direction="input") if with_model_inputs else {}
    return [
        Run(
            info=info,
            data=RunData(
                metrics=metrics_of_run.get(info.run_id),
                params=params.get(info.run_id, {}),
                tags=tags.get(info.run_id, {}),
            ),
            inputs=RunInputs(
                dataset_inputs=inputs.get(info.run_id, []),
                model_inputs=[ModelInput(model_id=model_id) for model_id, _ in models.get(info.run_id, [])],
            ),
            outputs=RunOutputs(
                model_outputs=[
                    ModelOutput(model_id=model_id, step=step) for model_id, step in outputs.get(info.run_id, [])
                ]
            ),
        )
        for info in infos
    ]


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


def _info(row: Any) -> RunInfo:
    fields = dict(zip(RunInfo.__slots__, row, strict=True))
    return RunInfo(**{**fields, "experiment_id": str(fields["experiment_id"]), "end_time": fields["end_time"] or None})


async def _pairs_of(tx: Tx, query: TextClause, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for run_id, key, value in await tx.execute(query, {"run_ids": list(run_ids)}):
        found.setdefault(run_id, {})[key] = value
    return found


async def _latest_of(tx: Tx, run_ids: Sequence[str]) -> dict[str, LatestMetrics]:
    rows = await tx.execute(_SELECT_METRICS, {"run_ids": list(run_ids)})
    found = {}
    for run_id, points in itertools.groupby(rows, key=operator.itemgetter(0)):
        _, keys, values, timestamps, steps = zip(*points, strict=True)
        found[run_id] = LatestMetrics(key=keys, value=values, timestamp=timestamps, step=steps)
    return found
