"""The SQL of registered models, their tags and aliases: fixed statements, on the driver."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from psycopg import errors

from services.common.database import Driver
from services.registry.events.model import Subject
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import ModelVersion
from services.registry.registered_models.model import RegisteredModel, RegisteredModelAlias

_NAME_KEY = "registered_models_workspace_name_key"

_INSERT = """
    INSERT INTO registered_models (
        name, description, creation_timestamp, last_updated_timestamp, last_version, revision
    )
    VALUES (%(name)s, %(description)s, %(now_ms)s, %(now_ms)s, 0, 0)
    ON CONFLICT ON CONSTRAINT registered_models_workspace_name_key DO NOTHING
    RETURNING registered_model_id, name
"""

_INSERT_TAGS = """
    INSERT INTO registered_model_tags (registered_model_id, key, value)
    SELECT %(registered_model_id)s, i.*
    FROM unnest(%(tag_keys)s::text[], %(tag_values)s::text[]) AS i (key, value)
"""

_SELECT_ID = """
    SELECT registered_model_id, name
    FROM registered_models
    WHERE workspace = 'default'
        AND name = %(name)s
"""

_HOLD = _SELECT_ID + "FOR NO KEY UPDATE"

# Rows are locked in the order of their numbers, which never change, so that nobody waits in a circle.
_HOLD_ALL = """
    SELECT registered_model_id, name
    FROM registered_models
    WHERE workspace = 'default'
        AND name = ANY(%(names)s::text[])
    ORDER BY registered_model_id
    FOR NO KEY UPDATE
"""

_SELECT_BY_ID = """
    SELECT registered_model_id, name
    FROM registered_models
    WHERE registered_model_id = %(registered_model_id)s
"""

_HOLD_BY_ID = _SELECT_BY_ID + "FOR NO KEY UPDATE"

_SELECT_DETAILS = """
    SELECT
        m.registered_model_id, m.name, m.creation_timestamp, m.last_updated_timestamp, m.description,
        (
            SELECT json_object_agg(key, value)::text
            FROM registered_model_tags
            WHERE registered_model_id = m.registered_model_id
        ),
        (
            SELECT json_agg(json_build_array(alias, version) ORDER BY alias COLLATE "C")::text
            FROM registered_model_aliases
            WHERE registered_model_id = m.registered_model_id
        )
    FROM unnest(%(registered_model_ids)s::bigint[]) WITH ORDINALITY AS i (registered_model_id, place)
    JOIN registered_models AS m USING (registered_model_id)
    ORDER BY i.place
"""

_SELECT_TAGS = """
    SELECT key, value
    FROM registered_model_tags
    WHERE registered_model_id = %(registered_model_id)s
"""

_DESCRIBE = """
    UPDATE registered_models
    SET description = %(description)s,
        last_updated_timestamp = %(now_ms)s
    WHERE registered_model_id = %(registered_model_id)s
"""

_TOUCH = """
    UPDATE registered_models
    SET last_updated_timestamp = %(now_ms)s
    WHERE registered_model_id = %(registered_model_id)s
"""

_RENAME = """
    WITH touched AS (
        UPDATE model_versions
        SET last_updated_timestamp = %(now_ms)s
        WHERE registered_model_id = %(registered_model_id)s
    )
    UPDATE registered_models
    SET name = %(name)s,
        last_updated_timestamp = %(now_ms)s
    WHERE registered_model_id = %(registered_model_id)s
    RETURNING registered_model_id, name
"""

_DELETE = "DELETE FROM registered_models WHERE registered_model_id = %(registered_model_id)s"

_UPSERT_TAG = """
    INSERT INTO registered_model_tags (registered_model_id, key, value)
    VALUES (%(registered_model_id)s, %(key)s, %(value)s)
    ON CONFLICT (registered_model_id, key) DO UPDATE
    SET value = excluded.value
"""

_DELETE_TAG = """
    DELETE FROM registered_model_tags
    WHERE registered_model_id = %(registered_model_id)s
        AND key = %(key)s
"""

_SELECT_ALIAS = """
    SELECT version
    FROM registered_model_aliases
    WHERE registered_model_id = %(registered_model_id)s
        AND alias = %(alias)s
"""

_UPSERT_ALIAS = """
    INSERT INTO registered_model_aliases (registered_model_id, alias, version)
    VALUES (%(registered_model_id)s, %(alias)s, %(version)s)
    ON CONFLICT (registered_model_id, alias) DO UPDATE
    SET version = excluded.version
"""

_DELETE_ALIAS = """
    DELETE FROM registered_model_aliases
    WHERE registered_model_id = %(registered_model_id)s
        AND alias = %(alias)s
"""


async def add(tx: Driver, name: str, *, description: str, tags: Mapping[str, str], now_ms: int) -> Subject | None:
    """Insert a model; return None, and insert nothing, if the name is taken."""
    given = {"name": name, "description": description, "now_ms": now_ms}
    model = await _subject(tx, _INSERT, given)
    if model is not None and tags:
        pairs = {"tag_keys": list(tags), "tag_values": list(tags.values())}
        await tx.execute(_INSERT_TAGS, {"registered_model_id": model.registered_model_id, **pairs})
    return model


async def find(tx: Driver, name: str) -> Subject | None:
    """Return the model of a name, which others may change."""
    return await _subject(tx, _SELECT_ID, {"name": name})


async def hold(tx: Driver, name: str) -> Subject | None:
    """Return the model of a name and keep others from changing it until the transaction ends."""
    return await _subject(tx, _HOLD, {"name": name})


async def hold_all(tx: Driver, names: Sequence[str]) -> dict[str, Subject]:
    """Return the models of names, by name, and keep others from changing them until the transaction ends."""
    rows = await (await tx.execute(_HOLD_ALL, {"names": list(names)})).fetchall()
    return {name: Subject(registered_model_id=number, name=name) for number, name in rows}


async def find_by_id(tx: Driver, registered_model_id: int, *, hold: bool = False) -> Subject | None:
    """Return the model of a number; with `hold` nobody else changes it until the transaction ends."""
    given = {"registered_model_id": registered_model_id}
    return await _subject(tx, _HOLD_BY_ID if hold else _SELECT_BY_ID, given)


async def with_details(tx: Driver, registered_model_ids: Sequence[int]) -> list[RegisteredModel]:
    """Return models with their tags, aliases and latest versions, in the order given."""
    details = await tx.execute(_SELECT_DETAILS, {"registered_model_ids": list(registered_model_ids)})
    latest = await versions_store.latest_of(tx, registered_model_ids, with_aliases=False)
    return [_model(row[1:], latest[row[0]]) for row in await details.fetchall()]


async def tags_of(tx: Driver, model: Subject) -> dict[str, str]:
    """Return a model's tags."""
    return dict(await (await tx.execute(_SELECT_TAGS, _key(model))).fetchall())


async def describe(tx: Driver, model: Subject, *, description: str, now_ms: int) -> None:
    await tx.execute(_DESCRIBE, {**_key(model), "description": description, "now_ms": now_ms})


async def touch(tx: Driver, model: Subject, *, now_ms: int) -> None:
    """Note that a model was changed."""
    await tx.execute(_TOUCH, {**_key(model), "now_ms": now_ms})


async def rename(tx: Driver, model: Subject, *, name: str, now_ms: int) -> Subject | None:
    """Return the model under its new name; None, with the transaction void, if another one has it."""
    try:
        return await _subject(tx, _RENAME, {**_key(model), "name": name, "now_ms": now_ms})
    except errors.UniqueViolation as error:
        if error.diag.constraint_name != _NAME_KEY:
            raise
        return None


async def delete(tx: Driver, model: Subject) -> None:
    """Delete a model with all that belongs to it."""
    await tx.execute(_DELETE, _key(model))


async def set_tag(tx: Driver, model: Subject, *, key: str, value: str) -> None:
    await tx.execute(_UPSERT_TAG, {**_key(model), "key": key, "value": value})


async def delete_tag(tx: Driver, model: Subject, *, key: str) -> None:
    await tx.execute(_DELETE_TAG, {**_key(model), "key": key})


async def version_of_alias(tx: Driver, model: Subject, alias: str) -> int | None:
    """Return the version that an alias points at."""
    row = await (await tx.execute(_SELECT_ALIAS, {**_key(model), "alias": alias})).fetchone()
    return row[0] if row else None


async def set_alias(tx: Driver, model: Subject, alias: str, *, version: int) -> None:
    """Point an alias at a version, which exists."""
    await tx.execute(_UPSERT_ALIAS, {**_key(model), "alias": alias, "version": version})


async def delete_alias(tx: Driver, model: Subject, alias: str) -> None:
    await tx.execute(_DELETE_ALIAS, {**_key(model), "alias": alias})


async def _subject(tx: Driver, statement: str, given: Mapping[str, Any]) -> Subject | None:
    row = await (await tx.execute(statement, given)).fetchone()
    return Subject(registered_model_id=row[0], name=row[1]) if row else None


def _model(row: Sequence[Any], latest_versions: Sequence[ModelVersion]) -> RegisteredModel:
    name, creation_timestamp, last_updated_timestamp, description, tags, aliases = row
    return RegisteredModel(
        name=name,
        creation_timestamp=creation_timestamp,
        last_updated_timestamp=last_updated_timestamp,
        description=description or None,
        latest_versions=latest_versions,
        tags=orjson.loads(tags) if tags else {},
        aliases=[
            RegisteredModelAlias(alias=alias, version=str(version))
            for alias, version in (orjson.loads(aliases) if aliases else ())
        ],
    )


def _key(model: Subject) -> dict[str, int]:
    return {"registered_model_id": model.registered_model_id}
