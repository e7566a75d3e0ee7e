"""The SQL of experiments and their tags."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, insert, not_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from services.common import keyset
from services.common.comparisons import compare, has_row
from services.common.database import Driver, Tx, violated_constraint
from services.common.filters import NULLS, Comparison, OrderBy
from services.tracking.experiments.model import Experiment
from services.tracking.tables import experiment_tags, experiments, runs

_TAG_ENTITY = "tag"
_COLUMNS = [name for name in Experiment.__slots__ if name != "tags"]
_FIELDS = [experiments.c[name] for name in _COLUMNS]

_SELECT_TARGET = """
    SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace
    FROM experiments
    WHERE experiment_id = %(experiment_id)s
    FOR SHARE
"""


_SELECT_NAMED_TARGET = """
    SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace
    FROM experiments
    WHERE name = %(name)s
    FOR SHARE
"""

_NEXT_ID = "SELECT nextval(pg_get_serial_sequence('experiments', 'experiment_id'))"

_INSERT_TARGET = """
    INSERT INTO experiments (
        experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace
    )
    VALUES (
        %(experiment_id)s, %(name)s, %(artifact_location)s, %(lifecycle_stage)s, %(creation_time)s,
        %(last_update_time)s, %(workspace)s
    )
    ON CONFLICT DO NOTHING
"""

_EXISTS = """
    SELECT experiment_id
    FROM experiments
    WHERE experiment_id = %(experiment_id)s
"""

_EXISTS_LOCKED = _EXISTS + "FOR NO KEY UPDATE"


async def exists(tx: Driver, experiment_id: int, *, hold: bool = False) -> bool:
    """Return whether there is an experiment, deleted or not; with `hold` nobody else changes it until the transaction
    ends.
    """
    found = await tx.execute(_EXISTS_LOCKED if hold else _EXISTS, {"experiment_id": experiment_id})
    return await found.fetchone() is not None


async def target(tx: Driver, experiment_id: int) -> Experiment | None:
    """Return an experiment, without its tags, for something new in it: nobody deletes it until the transaction ends."""
    row = await (await tx.execute(_SELECT_TARGET, {"experiment_id": experiment_id})).fetchone()
    return _experiment(dict(zip(_COLUMNS, row, strict=True)), {}) if row else None


async def named_target(tx: Driver, name: str) -> Experiment | None:
    """Return the experiment of a name as `target` does."""
    row = await (await tx.execute(_SELECT_NAMED_TARGET, {"name": name})).fetchone()
    return _experiment(dict(zip(_COLUMNS, row, strict=True)), {}) if row else None


async def new_target(tx: Driver, make: Callable[[int], Experiment]) -> None:
    """Insert the experiment, without tags, that `make` returns for a number, unless its name is taken meanwhile."""
    [number] = await (await tx.execute(_NEXT_ID)).fetchone() or [0]
    experiment = make(number)
    row = {name: getattr(experiment, name) for name in _COLUMNS}
    await tx.execute(_INSERT_TARGET, {**row, "experiment_id": number})


async def get(tx: Tx, experiment_id: int, *, lock: bool = False) -> Experiment | None:
    """Return an experiment, deleted or not; `lock` keeps its stage until the end of the transaction."""
    query = select(*_FIELDS).where(experiments.c.experiment_id == experiment_id)
    return await _one(tx, query.with_for_update(key_share=True) if lock else query)


async def get_by_name(tx: Tx, name: str) -> Experiment | None:
    return await _one(tx, select(*_FIELDS).where(experiments.c.name == name))


async def next_id(tx: Tx) -> int:
    query = text("SELECT nextval(pg_get_serial_sequence('experiments', 'experiment_id'))")
    return int((await tx.execute(query)).scalar_one())


async def add(tx: Tx, experiment: Experiment) -> bool:
    """Insert an experiment with its tags; return False, and insert nothing, if its name or id is taken."""
    row = {
        "experiment_id": int(experiment.experiment_id),
        "workspace": experiment.workspace,
        "name": experiment.name,
        "artifact_location": experiment.artifact_location,
        "lifecycle_stage": experiment.lifecycle_stage,
        "creation_time": experiment.creation_time,
        "last_update_time": experiment.last_update_time,
    }
    added = upsert(experiments).values(row).on_conflict_do_nothing().returning(experiments.c.experiment_id)
    if (await tx.execute(added)).first() is None:
        return False
    if experiment.tags:
        await tx.execute(insert(experiment_tags), _tag_rows(int(experiment.experiment_id), experiment.tags))
    return True


async def rename(tx: Tx, experiment_id: int, *, name: str, now_ms: int) -> bool:
    """Change the name; return False, with the transaction void, if another experiment has it."""
    try:
        await _update(tx, experiment_id, name=name, last_update_time=now_ms)
    except IntegrityError as error:
        if violated_constraint(error) != "experiments_workspace_name_key":
            raise
        return False
    return True


async def set_stage(tx: Tx, experiment_id: int, *, stage: str, deleted_time: int | None, now_ms: int) -> bool:
    """Move an experiment and its runs to a stage, but for runs that are being purged.

    Return False, and move nothing, if the experiment itself is being purged.
    """
    moved = update(experiments).where(experiments.c.experiment_id == experiment_id, experiments.c.purge_time.is_(None))
    if not (await tx.execute(moved.values(lifecycle_stage=stage, last_update_time=now_ms))).rowcount:
        return False
    # Everyone locks runs in the order of their ids, so that nobody waits for each other.
    its_runs = (runs.c.experiment_id == experiment_id, runs.c.purge_time.is_(None))
    await tx.execute(select(runs.c.run_id).where(*its_runs).order_by(runs.c.run_id).with_for_update(key_share=True))
    await tx.execute(update(runs).where(*its_runs).values(lifecycle_stage=stage, deleted_time=deleted_time))
    return True


async def set_tag(tx: Tx, experiment_id: int, *, key: str, value: str) -> None:
    row = upsert(experiment_tags).values(_tag_rows(experiment_id, {key: value}))
    await tx.execute(row.on_conflict_do_update(constraint="experiment_tags_pkey", set_={"value": value}))


async def delete_tag(tx: Tx, experiment_id: int, *, key: str) -> bool:
    """Return whether the tag was set."""
    matches = (experiment_tags.c.experiment_id == experiment_id, experiment_tags.c.key == key)
    return (await tx.execute(delete(experiment_tags).where(*matches))).rowcount > 0


async def search(
    tx: Tx,
    *,
    stages: Sequence[str],
    filters: Iterable[Comparison],
    order: Sequence[OrderBy],
    position: tuple[Any, ...] | None,
    limit: int,
) -> tuple[list[Experiment], list[tuple[Any, ...]]]:
    """Return up to `limit` experiments after `position`, and the position of each."""
    columns = [keyset.sort_column(experiments.c[term.key], term.ascending) for term in order]
    if not any(term.key == "experiment_id" for term in order):
        columns.append(keyset.SortColumn(experiments.c.experiment_id, False))
    query = select(*_FIELDS, *keyset.labelled(columns)).where(
        experiments.c.lifecycle_stage.in_(stages), *map(_matches, filters)
    )
    if position is not None:
        query = query.where(keyset.after(columns, position))
    rows = (await tx.execute(query.order_by(*keyset.order_by(columns)).limit(limit))).all()
    found = await _with_tags(tx, [row[: len(_COLUMNS)] for row in rows])
    return found, [tuple(row[len(_COLUMNS) :]) for row in rows]


def _matches(term: Comparison) -> ColumnElement[bool]:
    if term.entity != _TAG_ENTITY:
        return compare(experiments.c[term.key], term.op, term.value)
    same = (experiment_tags.c.experiment_id == experiments.c.experiment_id, experiment_tags.c.key == term.key)
    if term.op in NULLS:
        tagged = has_row(experiment_tags, *same)
        return not_(tagged) if term.op == "IS NULL" else tagged
    return has_row(experiment_tags, *same, compare(experiment_tags.c.value, term.op, term.value))


async def _one(tx: Tx, query: Select[Any]) -> Experiment | None:
    rows = (await tx.execute(query)).all()
    return (await _with_tags(tx, rows))[0] if rows else None


async def _with_tags(tx: Tx, rows: Sequence[Sequence[Any]]) -> list[Experiment]:
    fields = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    tags: dict[int, dict[str, str]] = {row["experiment_id"]: {} for row in fields}
    query = select(experiment_tags).where(experiment_tags.c.experiment_id.in_(tags))
    for experiment_id, key, value in (await tx.execute(query)).all() if tags else ():
        tags[experiment_id][key] = value
    return [_experiment(row, tags[row["experiment_id"]]) for row in fields]


def _experiment(row: Mapping[str, Any], tags: dict[str, str]) -> Experiment:
    return Experiment(**{**row, "experiment_id": str(row["experiment_id"]), "tags": tags})


def _tag_rows(experiment_id: int, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"experiment_id": experiment_id, "key": key, "value": value} for key, value in tags.items()]


async def _update(tx: Tx, experiment_id: int, **values: Any) -> None:
    await tx.execute(update(experiments).where(experiments.c.experiment_id == experiment_id).values(**values))
