"""The SQL of searches: which registered models or versions match, and in which order; not what they hold."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, not_, select

from services.common import keyset
from services.common.auth import Caller
from services.common.comparisons import compare, has_row, is_found
from services.common.database import Tx
from services.common.filters import Comparison, OrderBy
from services.registry.permissions.store import is_readable
from services.registry.prompts import PROMPT_TAG
from services.registry.tables import model_version_tags, model_versions, registered_model_tags, registered_models

_WORKSPACE = registered_models.c.workspace == "default"
_VERSIONS = model_versions.join(registered_models)
_COLUMN = {"name": registered_models.c.name}

Position = tuple[Any, ...]


async def registered_model_ids(
    tx: Tx,
    *,
    caller: Caller,
    terms: Iterable[Comparison],
    with_prompts: bool,
    order: Sequence[OrderBy],
    position: Position | None,
    limit: int,
) -> tuple[list[int], list[Position]]:
    """Return the numbers of up to `limit` registered models after `position` that the caller may read, and the position
    of each.
    """
    columns = _sort(registered_models, order, name=True)
    query = select(registered_models.c.registered_model_id, *keyset.labelled(columns)).where(
        _WORKSPACE, is_readable(caller), *(_model_matches(term) for term in terms)
    )
    if not with_prompts:
        query = query.where(not_(has_row(registered_model_tags, *_is_prompt(registered_model_tags))))
    rows = await _page(tx, query, columns, position, limit)
    return [row[0] for row in rows], [tuple(row[1:]) for row in rows]


async def version_keys(
    tx: Tx,
    *,
    caller: Caller,
    terms: Iterable[Comparison],
    with_prompts: bool,
    order: Sequence[OrderBy],
    position: Position | None,
    limit: int,
) -> tuple[list[tuple[int, int]], list[Position]]:
    """Return the model's and the own number of up to `limit` versions after `position` of models that the caller may
    read, and the position of each.

    A prompt is a model of which any version has the tag (as MLflow 3.18, _update_query_to_exclude_prompts).
    """
    columns = _sort(model_versions, order, name=True, version=False)
    keys = (model_versions.c.registered_model_id, model_versions.c.version)
    query = (
        select(*keys, *keyset.labelled(columns))
        .select_from(_VERSIONS)
        .where(_WORKSPACE, is_readable(caller), *(_version_matches(term) for term in terms))
    )
    if not with_prompts:
        query = query.where(not_(has_row(model_version_tags, *_is_prompt(model_version_tags))))
    rows = await _page(tx, query, columns, position, limit)
    return [(row[0], row[1]) for row in rows], [tuple(row[2:]) for row in rows]


def _sort(table: Table, order: Sequence[OrderBy], **tie_break: bool) -> list[keyset.SortColumn]:
    """Return the keys of an order, and after them, by whether they ascend, the keys of `tie_break` that it lacks."""
    named = {term.key: term.ascending for term in order}
    return [
        keyset.sort_column(_COLUMN[key] if key in _COLUMN else table.c[key], ascending)
        for key, ascending in (named | {key: way for key, way in tie_break.items() if key not in named}).items()
    ]


def _model_matches(term: Comparison) -> ColumnElement[bool]:
    if term.entity != "tag":
        return compare(registered_models.c[term.key], term.op, term.value)
    if term.op == "=":
        return is_found(registered_models.c.registered_model_id, _holders(registered_model_tags, term))
    tags = registered_model_tags
    owner = tags.c.registered_model_id == registered_models.c.registered_model_id
    return has_row(tags, owner, tags.c.key == term.key, compare(tags.c.value, term.op, term.value))


def _version_matches(term: Comparison) -> ColumnElement[bool]:
    if term.entity != "tag":
        column = _COLUMN[term.key] if term.key in _COLUMN else model_versions.c[term.key]
        return compare(column, term.op, term.value)
    tags = model_version_tags
    owner = (
        tags.c.registered_model_id == model_versions.c.registered_model_id,
        tags.c.version == model_versions.c.version,
    )
    matches = has_row(tags, *owner, tags.c.key == term.key, compare(tags.c.value, term.op, term.value))
    if term.op == "=":
        return and_(is_found(model_versions.c.registered_model_id, _holders(tags, term)), matches)
    return matches


def _holders(tags: Table, term: Comparison) -> Select[Any]:
    """Return the query for the models with a tag: 5,000 models are looked through in a twentieth of the time that it
    takes to look into each of them.
    """
    return select(tags.c.registered_model_id).where(tags.c.key == term.key, compare(tags.c.value, term.op, term.value))


def _is_prompt(tags: Table) -> tuple[ColumnElement[bool], ...]:
    owner = tags.c.registered_model_id == registered_models.c.registered_model_id
    return owner, tags.c.key == PROMPT_TAG, tags.c.value == "true"


async def _page(
    tx: Tx, query: Select[Any], columns: Sequence[keyset.SortColumn], position: Position | None, limit: int
) -> Sequence[Any]:
    if position is not None:
        query = query.where(keyset.after(columns, position))
    rows: Sequence[Any] = (await tx.execute(query.order_by(*keyset.order_by(columns)).limit(limit))).all()
    return rows
