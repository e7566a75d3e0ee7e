"""The SQL of logged models."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from services.common import keyset
from services.common.comparisons import compare, has_row
from services.common.database import Tx
from services.common.filters import Comparison
from services.tracking.logged_models.model import (
    STATUSES,
    LoggedModel,
    LoggedModelData,
    LoggedModelInfo,
    ModelMetrics,
    ModelOrder,
    OnDataset,
)
from services.tracking.rules import ACTIVE
from services.tracking.tables import logged_model_metrics as points
from services.tracking.tables import logged_model_params, logged_model_tags, logged_models

_COLUMNS = [name for name in LoggedModelInfo.__slots__ if name != "tags"]
_INFO = [logged_models.c[name] for name in _COLUMNS]

_SELECT_POINTS = text("""
    SELECT key, value, timestamp, step, coalesce(dataset_name, ''), coalesce(dataset_digest, ''), model_id, run_id
    FROM logged_model_metrics
    WHERE model_id = ANY(CAST(:model_ids AS text[]))
    ORDER BY model_id, key, step, timestamp, run_id, value
""")
_NAN: ColumnElement[float] = literal(math.nan, Double())
_MODEL_ID_PLACE = list(ModelMetrics.__slots__).index("model_id")


async def add(tx: Tx, model: LoggedModel) -> None:
    row = {name: getattr(model.info, name) for name in _COLUMNS}
    row |= {"experiment_id": int(model.info.experiment_id), "lifecycle_stage": ACTIVE}
    await tx.execute(insert(logged_models).values(row))
    await add_params(tx, model.info.model_id, model.data.params)
    await set_tags(tx, model.info.model_id, model.info.tags)


async def get(tx: Tx, model_id: str) -> tuple[LoggedModelInfo, str] | None:
    """Return a model without its tags, and its life cycle stage."""
    query = select(*_INFO, logged_models.c.lifecycle_stage).where(logged_models.c.model_id == model_id)
    row = (await tx.execute(query)).first()
    return (_info(row[:-1]), row.lifecycle_stage) if row else None


async def change(tx: Tx, model_id: str, **values: Any) -> bool:
    """Set columns; return whether the model exists."""
    changed = update(logged_models).where(logged_models.c.model_id == model_id).values(**values)
    return (await tx.execute(changed)).rowcount > 0


async def lock(tx: Tx, model_id: str) -> bool:
    """Keep others from changing a model; return whether it exists."""
    query = select(logged_models.c.model_id).where(logged_models.c.model_id == model_id)
    return (await tx.execute(query.with_for_update(key_share=True))).first() is not None


async def params_of(tx: Tx, model_id: str) -> dict[str, str]:
    return (await _pairs_of(tx, logged_model_params, [model_id])).get(model_id, {})


async def add_params(tx: Tx, model_id: str, params: Mapping[str, str]) -> None:
    """Insert parameters that are not logged yet."""
    if params:
        await tx.execute(insert(logged_model_params), _rows(model_id, params))


async def set_tags(tx: Tx, model_id: str, tags: Mapping[str, str]) -> None:
    """Set tags, over older values."""
    if tags:
        rows = upsert(logged_model_tags).values(_rows(model_id, tags))
        newer = {"value": rows.excluded.value}
        await tx.execute(rows.on_conflict_do_update(constraint="logged_model_tags_pkey", set_=newer))


async def delete_tag(tx: Tx, model_id: str, *, key: str) -> bool:
    """Return whether the tag was set."""
    matches = (logged_model_tags.c.model_id == model_id, logged_model_tags.c.key == key)
    return (await tx.execute(delete(logged_model_tags).where(*matches))).rowcount > 0


async def with_details(tx: Tx, infos: Sequence[LoggedModelInfo]) -> list[LoggedModel]:
    """Return the models with their tags, parameters and points, in the order given."""
    model_ids = [info.model_id for info in infos]
    tags = await _pairs_of(tx, logged_model_tags, model_ids)
    params = await _pairs_of(tx, logged_model_params, model_ids)
    rows: dict[str, list[Any]] = {}
    for row in await tx.execute(_SELECT_POINTS, {"model_ids": model_ids}):
        rows.setdefault(row[_MODEL_ID_PLACE], []).append(row)
    return [
        LoggedModel(
            info=_with_tags(info, tags.get(info.model_id, {})),
            data=LoggedModelData(
                params=params.get(info.model_id, {}),
                metrics=_metrics(rows[info.model_id]) if info.model_id in rows else None,
            ),
        )
        for info in infos
    ]


async def search(
    tx: Tx,
    *,
    experiment_ids: Sequence[int],
    filters: Iterable[Comparison],
    datasets: Sequence[OnDataset],
    order: Sequence[ModelOrder],
    position: tuple[Any, ...] | None,
    limit: int,
) -> tuple[list[LoggedModelInfo], list[tuple[Any, ...]]]:
    """Return up to `limit` active models after `position`, and the position of each.

    A metric in a filter or in the order is the model's latest point on the data sets named. Missing values come last,
    NaN before them, in both directions, as for runs.
    """
    terms = list(filters)
    columns, source = _sort(order, datasets)
    query = (
        select(*_INFO, *keyset.labelled(columns))
        .select_from(source)
        .where(
            logged_models.c.experiment_id.in_(experiment_ids),
            logged_models.c.lifecycle_stage == ACTIVE,
            *[_matches(term, datasets) for term in terms],
        )
    )
    if datasets and not any(term.entity == "metric" for term in terms):
        query = query.where(has_row(points, points.c.model_id == logged_models.c.model_id, _on_any(datasets)))
    if position is not None:
        query = query.where(keyset.after(columns, position))
    rows = (await tx.execute(query.order_by(*keyset.order_by(columns)).limit(limit))).all()
    return [_info(row[: len(_INFO)]) for row in rows], [tuple(row[len(_INFO) :]) for row in rows]


def _sort(order: Sequence[ModelOrder], datasets: Sequence[OnDataset]) -> tuple[list[keyset.SortColumn], FromClause]:
    columns: list[keyset.SortColumn] = []
    source: FromClause = logged_models
    for term in order:
        if term.is_metric:
            latest = _latest(term.key, _on_any(datasets), _on(term.on)).lateral()
            source = source.outerjoin(latest, true())
            rank = case((latest.c.value == _NAN, 1), (latest.c.value.is_(None), 2), else_=0)
            columns.append(keyset.SortColumn(rank, True))
            columns.append(keyset.SortColumn(latest.c.value, term.ascending, nullable=True))
        else:
            columns.append(keyset.sort_column(logged_models.c[term.key], term.ascending))
    named = {term.key for term in order if not term.is_metric}
    if "creation_timestamp_ms" not in named:
        columns.append(keyset.SortColumn(logged_models.c.creation_timestamp_ms, False))
    if "model_id" not in named:
        columns.append(keyset.sort_column(logged_models.c.model_id, True))
    return columns, source


def _matches(term: Comparison, datasets: Sequence[OnDataset]) -> ColumnElement[bool]:
    if term.entity == "metric":
        value = _latest(term.key, _on_any(datasets)).scalar_subquery()
        # To Postgres it is greater than all numbers; here it is only unequal to them.
        return compare(value if term.op == "!=" else func.nullif(value, _NAN), term.op, term.value)
    if term.entity == "attribute":
        value = _status(term.value) if term.key == "status" else term.value
        return compare(logged_models.c[term.key], term.op, value)
    pairs = logged_model_params if term.entity == "param" else logged_model_tags
    same = (pairs.c.model_id == logged_models.c.model_id, pairs.c.key == term.key)
    return has_row(pairs, *same, compare(pairs.c.value, term.op, term.value))


def _latest(key: str, *conditions: ColumnElement[bool]) -> Any:
    """Select the value of the point of the outer query's model with the greatest step, timestamp and value."""
    return (
        select(points.c.value)
        .where(points.c.model_id == logged_models.c.model_id, points.c.key == key, *conditions)
        .order_by(points.c.step.desc(), points.c.timestamp.desc(), points.c.value.desc())
        .limit(1)
        .correlate(logged_models)
    )


def _on(dataset: OnDataset) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if dataset.name:
        conditions.append(points.c.dataset_name == dataset.name)
    if dataset.digest:
        conditions.append(points.c.dataset_digest == dataset.digest)
    return and_(*conditions)


def _on_any(datasets: Sequence[OnDataset]) -> ColumnElement[bool]:
    return or_(*map(_on, datasets)) if datasets else true()


def _status(value: Any) -> Any:
    return [STATUSES[status] for status in value] if isinstance(value, tuple) else STATUSES[value]


async def _pairs_of(tx: Tx, table: Table, model_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for model_id, key, value in await tx.execute(select(table).where(table.c.model_id.in_(model_ids))):
        found.setdefault(model_id, {})[key] = value
    return found


def _rows(model_id: str, pairs: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"model_id": model_id, "key": key, "value": value} for key, value in pairs.items()]


def _info(row: Any) -> LoggedModelInfo:
    fields = dict(zip(_COLUMNS, row, strict=True))
    return LoggedModelInfo(**{**fields, "experiment_id": str(fields["experiment_id"])})


def _with_tags(info: LoggedModelInfo, tags: Mapping[str, str]) -> LoggedModelInfo:
    return LoggedModelInfo(**{name: getattr(info, name) for name in _COLUMNS}, tags=tags)


def _metrics(rows: Sequence[Any]) -> ModelMetrics:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return ModelMetrics(**dict(zip(ModelMetrics.__slots__, columns, strict=True)))
