"""The SQL of versions, their tags and the aliases that point at them: fixed statements, on the driver."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.common.database import Driver
from services.registry.events.model import Subject
from services.registry.model_versions.model import READY, ModelVersion, Origin
from services.registry.rules import NO_STAGE, VERSION_MAX

# What is read of a version `v` of a model `m`, for `version_of`.
COLUMNS = """
        v.registered_model_id, m.name, v.version, v.creation_timestamp, v.last_updated_timestamp, v.user_id,
        v.current_stage, v.description, v.source, v.run_id, v.status, v.status_message, v.run_link,
        (
            SELECT json_object_agg(t.key, t.value)::text
            FROM model_version_tags AS t
            WHERE t.registered_model_id = v.registered_model_id
                AND t.version = v.version
        ),
        (
            SELECT array_agg(a.alias ORDER BY a.alias COLLATE "C")
            FROM registered_model_aliases AS a
            WHERE a.registered_model_id = v.registered_model_id
                AND a.version = v.version
        )
"""

# Every version is read with its tags and aliases; the statements below say which.
_VERSIONS = (
    """
    SELECT"""
    + COLUMNS
    + """
    FROM registered_models AS m
    JOIN model_versions AS v ON v.registered_model_id = m.registered_model_id
"""
)

_SELECT = (
    _VERSIONS
    + """
    WHERE m.workspace = 'default'
        AND m.name = %(name)s
        AND v.version = %(version)s
"""
)

_SELECT_BY_ID = (
    _VERSIONS
    + """
    WHERE v.registered_model_id = %(registered_model_id)s
        AND v.version = %(version)s
"""
)

_SELECT_BY_ALIAS = (
    _VERSIONS
    + """
    JOIN registered_model_aliases AS n ON n.registered_model_id = v.registered_model_id AND n.version = v.version
    WHERE m.workspace = 'default'
        AND m.name = %(name)s
        AND n.alias = %(alias)s
"""
)

_SELECT_NEWEST = (
    _VERSIONS
    + """
    WHERE m.workspace = 'default'
        AND m.name = %(name)s
        AND (%(stage)s::text IS NULL OR v.current_stage = %(stage)s)
    ORDER BY v.version DESC
    LIMIT 1
"""
)

# The stages that a model's versions are in are found by jumping from one to the next in the index, so that a model of
# many versions costs no more than one of few. The model is what a statement calls `i`.
STAGES = """
    WITH RECURSIVE stages (stage) AS (
        SELECT min(current_stage)
        FROM model_versions
        WHERE registered_model_id = i.registered_model_id
        UNION ALL
        SELECT (
            SELECT min(current_stage)
            FROM model_versions
            WHERE registered_model_id = i.registered_model_id
                AND current_stage > stage
        )
        FROM stages
        WHERE stage IS NOT NULL
    )
    SELECT
        (
            SELECT min(version)
            FROM model_versions
            WHERE registered_model_id = i.registered_model_id
                AND current_stage = stage
        ) AS first_version,
        (
            SELECT max(version)
            FROM model_versions
            WHERE registered_model_id = i.registered_model_id
                AND current_stage = stage
        ) AS last_version
    FROM stages
    WHERE stage IS NOT NULL
"""

# In the order in which the stages came into use.
_SELECT_LATEST = (
    _VERSIONS
    + """
    JOIN unnest(%(registered_model_ids)s::bigint[]) WITH ORDINALITY AS i (registered_model_id, place)
        ON i.registered_model_id = m.registered_model_id
    CROSS JOIN LATERAL ("""
    + STAGES
    + """) AS l
    WHERE v.version = l.last_version
    ORDER BY i.place, l.first_version
"""
)

_SELECT_MANY = (
    _VERSIONS
    + """
    JOIN unnest(%(registered_model_ids)s::bigint[], %(versions)s::bigint[])
        WITH ORDINALITY AS i (registered_model_id, version, place)
        ON i.registered_model_id = v.registered_model_id AND i.version = v.version
    ORDER BY i.place
"""
)

_SELECT_ORIGIN = """
    SELECT source, storage_location, run_id, model_id
    FROM model_versions
    JOIN registered_models AS m USING (registered_model_id)
    WHERE m.workspace = 'default'
        AND m.name = %(name)s
        AND version = %(version)s
"""

_TAKE_NUMBER = """
    UPDATE registered_models
    SET last_version = last_version + 1,
        last_updated_timestamp = %(now_ms)s
    WHERE workspace = 'default'
        AND name = %(name)s
    RETURNING registered_model_id, name, last_version
"""

_INSERT = """
    WITH added AS (
        INSERT INTO model_versions (
            registered_model_id, version, creation_timestamp, last_updated_timestamp, user_id, current_stage,
            description, source, storage_location, run_id, run_link, model_id, status
        )
        VALUES (
            %(registered_model_id)s, %(version)s, %(now_ms)s, %(now_ms)s, %(user_id)s, %(current_stage)s,
            %(description)s, %(source)s, %(storage_location)s, %(run_id)s, %(run_link)s, %(model_id)s, %(status)s
        )
    )
    INSERT INTO model_version_tags (registered_model_id, version, key, value)
    SELECT %(registered_model_id)s, %(version)s, i.*
    FROM unnest(%(tag_keys)s::text[], %(tag_values)s::text[]) AS i (key, value)
"""

_DESCRIBE = """
    UPDATE model_versions
    SET description = %(description)s,
        last_updated_timestamp = %(now_ms)s
    WHERE registered_model_id = %(registered_model_id)s
        AND version = %(version)s
"""

_SELECT_IN_STAGE = """
    SELECT version
    FROM model_versions
    WHERE registered_model_id = %(registered_model_id)s
        AND current_stage = %(stage)s
        AND version <> %(except_version)s
    ORDER BY version
"""

_MOVE = """
    UPDATE model_versions
    SET current_stage = %(stage)s,
        last_updated_timestamp = %(now_ms)s
    WHERE registered_model_id = %(registered_model_id)s
        AND version = ANY(%(versions)s::bigint[])
"""

_DELETE = """
    DELETE FROM model_versions
    WHERE registered_model_id = %(registered_model_id)s
        AND version = %(version)s
"""

_UPSERT_TAG = """
    INSERT INTO model_version_tags (registered_model_id, version, key, value)
    VALUES (%(registered_model_id)s, %(version)s, %(key)s, %(value)s)
    ON CONFLICT (registered_model_id, version, key) DO UPDATE
    SET value = excluded.value
"""

_DELETE_TAG = """
    DELETE FROM model_version_tags
    WHERE registered_model_id = %(registered_model_id)s
        AND version = %(version)s
        AND key = %(key)s
"""

_SELECT_OF_LOGGED_MODEL = """
    SELECT m.name, v.version
    FROM model_versions AS v
    JOIN registered_models AS m USING (registered_model_id)
    WHERE v.model_id = %(model_id)s
    ORDER BY v.creation_timestamp, m.name COLLATE "C", v.version
"""


async def get(tx: Driver, name: str, version: int) -> ModelVersion | None:
    """Return a version with its tags and aliases."""
    return await _one(tx, _SELECT, {"name": name, "version": _number(version)})


async def get_of(tx: Driver, model: Subject, version: int) -> ModelVersion | None:
    """Return a version of a model with its tags and aliases, as it is now."""
    given = {"registered_model_id": model.registered_model_id, "version": _number(version)}
    return await _one(tx, _SELECT_BY_ID, given)


async def get_by_alias(tx: Driver, name: str, alias: str) -> ModelVersion | None:
    """Return the version that an alias points at."""
    return await _one(tx, _SELECT_BY_ALIAS, {"name": name, "alias": alias})


async def get_newest(tx: Driver, name: str, *, stage: str | None = None) -> ModelVersion | None:
    """Return a model's newest version, or its newest in a stage."""
    return await _one(tx, _SELECT_NEWEST, {"name": name, "stage": stage})


async def latest_of(
    tx: Driver, registered_model_ids: Sequence[int], *, with_aliases: bool
) -> dict[int, list[ModelVersion]]:
    """Return the newest version in each stage of each model, in the order in which the stages came into use."""
    rows = await (await tx.execute(_SELECT_LATEST, {"registered_model_ids": list(registered_model_ids)})).fetchall()
    found: dict[int, list[ModelVersion]] = {registered_model_id: [] for registered_model_id in registered_model_ids}
    for row in rows:
        found[row[0]].append(version_of(row, with_aliases=with_aliases))
    return found


async def get_many(tx: Driver, keys: Sequence[tuple[int, int]]) -> list[ModelVersion]:
    """Return versions with their tags but without aliases, by number of the model and of the version, in that order."""
    given = {"registered_model_ids": [key[0] for key in keys], "versions": [key[1] for key in keys]}
    rows = await (await tx.execute(_SELECT_MANY, given)).fetchall()
    return [version_of(row, with_aliases=False) for row in rows]


async def origin_of(tx: Driver, name: str, version: int) -> Origin | None:
    """Return what a version was made from."""
    row = await (await tx.execute(_SELECT_ORIGIN, {"name": name, "version": _number(version)})).fetchone()
    return Origin(**dict(zip(Origin.__slots__, row, strict=True))) if row else None


async def take_number(tx: Driver, name: str, *, now_ms: int) -> tuple[Subject, int] | None:
    """Return the model, held, and the number of its next version; None if there is no such model."""
    row = await (await tx.execute(_TAKE_NUMBER, {"name": name, "now_ms": now_ms})).fetchone()
    return (Subject(registered_model_id=row[0], name=row[1]), row[2]) if row else None


async def add(
    tx: Driver, model: Subject, version: int, *, origin: Origin, run_link: str, description: str,
    tags: Mapping[str, str], user_id: str | None, now_ms: int,
) -> None:  # fmt: skip
    """Insert a version under a number that was taken for it."""
    await tx.execute(
        _INSERT,
        {
            "registered_model_id": model.registered_model_id,
            "version": version,
            "now_ms": now_ms,
            "user_id": user_id,
            "current_stage": NO_STAGE,
            "description": description,
            **{name: getattr(origin, name) for name in Origin.__slots__},
            "run_link": run_link,
            "status": READY,
            "tag_keys": list(tags),
            "tag_values": list(tags.values()),
        },
    )


async def describe(tx: Driver, model: Subject, version: int, *, description: str | None, now_ms: int) -> None:
    await tx.execute(_DESCRIBE, {**_key(model, version), "description": description, "now_ms": now_ms})


async def in_stage(tx: Driver, model: Subject, stage: str, *, except_version: int) -> list[int]:
    """Return the versions of a model in a stage, but for one."""
    given = {"registered_model_id": model.registered_model_id, "stage": stage, "except_version": except_version}
    return [row[0] for row in await (await tx.execute(_SELECT_IN_STAGE, given)).fetchall()]


async def move(tx: Driver, model: Subject, versions: Sequence[int], *, stage: str, now_ms: int) -> None:
    given = {"registered_model_id": model.registered_model_id, "versions": list(versions)}
    await tx.execute(_MOVE, {**given, "stage": stage, "now_ms": now_ms})


async def delete(tx: Driver, model: Subject, version: int) -> None:
    """Delete a version with its tags and the aliases that point at it."""
    await tx.execute(_DELETE, _key(model, version))


async def set_tag(tx: Driver, model: Subject, version: int, *, key: str, value: str) -> None:
    await tx.execute(_UPSERT_TAG, {**_key(model, version), "key": key, "value": value})


async def delete_tag(tx: Driver, model: Subject, version: int, *, key: str) -> None:
    await tx.execute(_DELETE_TAG, {**_key(model, version), "key": key})


async def of_logged_model(tx: Driver, model_id: str) -> list[tuple[str, int]]:
    """Return name and number of all versions that are a logged model, oldest first."""
    return await (await tx.execute(_SELECT_OF_LOGGED_MODEL, {"model_id": model_id})).fetchall()


async def _one(tx: Driver, query: str, given: Mapping[str, Any]) -> ModelVersion | None:
    row = await (await tx.execute(query, given)).fetchone()
    return version_of(row, with_aliases=True) if row else None


def version_of(row: Sequence[Any], *, with_aliases: bool) -> ModelVersion:
    """Return the version that a row of COLUMNS tells of."""
    (
        _, name, version, creation_timestamp, last_updated_timestamp, user_id, current_stage, description, source,
        run_id, status, status_message, run_link, tags, aliases,
    ) = row  # fmt: skip
    return ModelVersion(
        name=name,
        version=str(version),
        creation_timestamp=creation_timestamp,
        last_updated_timestamp=last_updated_timestamp,
        user_id=user_id,
        current_stage=current_stage,
        description=description,
        source=source,
        run_id=run_id,
        status=status,
        status_message=status_message,
        run_link=run_link,
        tags=orjson.loads(tags) if tags else {},
        aliases=aliases if with_aliases and aliases else (),
    )


def _key(model: Subject, version: int) -> dict[str, int]:
    return {"registered_model_id": model.registered_model_id, "version": version}


def _number(version: int) -> int:
    """Return a number that the column can hold: the same one, or one that no version has."""
    return version if 0 < version <= VERSION_MAX else 0
