"""The SQL of grants, and of what a caller may do by them.

What everyone may and who administers are parameters of the connection, so that every statement knows them:
`parameters` sets them, and without them everyone may do everything.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, SmallInteger, and_, func, or_

from services.common.auth import Caller
from services.common.comparisons import has_row
from services.common.database import Driver
from services.common.grants import Principal, PrincipalKind
from services.registry.events.model import Subject
from services.registry.permissions.model import Defaults, Grants, Level
from services.registry.tables import registered_model_grants, registered_models

_DEFAULT_LEVEL = "modelstead.default_level"
_ADMIN_GROUP = "modelstead.admin_group"

_LEVEL = """
    greatest(
        coalesce(nullif(current_setting('modelstead.default_level', true), ''), '5')::smallint,
        CASE WHEN current_setting('modelstead.admin_group', true) = ANY({groups}) THEN 5 END,
        (
            SELECT max(level)
            FROM registered_model_grants
            WHERE registered_model_id = %(registered_model_id)s
                AND (
                    (principal_kind IN ('user', 'service_principal') AND principal = {caller})
                    OR (principal_kind = 'group' AND principal = ANY({groups}))
                )
        )
    )
"""

_SELECT = """
    SELECT principal_kind, principal, level
    FROM registered_model_grants
    WHERE registered_model_id = %(registered_model_id)s
"""

_SELECT_BY_NAMES = """
    SELECT m.name, g.principal_kind, g.principal, g.level
    FROM registered_models AS m
    LEFT JOIN registered_model_grants AS g USING (registered_model_id)
    WHERE m.workspace = 'default'
        AND m.name = ANY(%(names)s::text[])
"""

_DELETE = "DELETE FROM registered_model_grants WHERE registered_model_id = %(registered_model_id)s"

_INSERT = """
    INSERT INTO registered_model_grants (registered_model_id, principal_kind, principal, level)
    SELECT %(registered_model_id)s, i.*
    FROM unnest(%(kinds)s::text[], %(names)s::text[], %(levels)s::smallint[]) AS i (principal_kind, principal, level)
"""


def parameters(defaults: Defaults) -> dict[str, str]:
    """Return the parameters of a connection by which statements know what everyone may."""
    return {_DEFAULT_LEVEL: f"{defaults.level:d}", _ADMIN_GROUP: defaults.admin_group}


async def level_of(tx: Driver, model: Subject, caller: Caller) -> Level:
    """Return how much a caller may do with a model, or could if there were one."""
    given = {**_key(model), "caller": caller.name, "groups": list(caller.groups)}
    row = await (await tx.execute(f"SELECT {level('%(caller)s', '%(groups)s::text[]')}", given)).fetchone()
    assert row is not None, "an aggregate is one row"
    return Level(row[0])


def level(caller: str, groups: str) -> str:
    """Return the SQL of how much somebody may do with model `%(registered_model_id)s`, by that of name and groups."""
    return _LEVEL.format(caller=caller, groups=groups)


def is_readable(caller: Caller) -> ColumnElement[bool]:
    """Return the condition that a caller may read the row of `registered_models`."""
    grants, groups = registered_model_grants.c, sorted(caller.groups)
    everyone = func.coalesce(func.nullif(func.current_setting(_DEFAULT_LEVEL, True), ""), f"{Level.MANAGE:d}")
    is_held = or_(
        and_(grants.principal_kind.in_(("user", "service_principal")), grants.principal == caller.name),
        and_(grants.principal_kind == "group", grants.principal.in_(groups)),
    )
    return or_(
        everyone.cast(SmallInteger) >= int(Level.READ),
        func.current_setting(_ADMIN_GROUP, True).in_(groups),
        has_row(
            registered_model_grants, grants.registered_model_id == registered_models.c.registered_model_id, is_held
        ),
    )


async def grants_of(tx: Driver, model: Subject) -> Grants:
    """Return who was granted what on a model."""
    return _grants(await (await tx.execute(_SELECT, _key(model))).fetchall())


async def grants_of_names(tx: Driver, names: Sequence[str]) -> dict[str, Grants]:
    """Return who was granted what on the models of these names, for those that exist."""
    rows = await (await tx.execute(_SELECT_BY_NAMES, {"names": list(names)})).fetchall()
    found: dict[str, list[Sequence[Any]]] = {}
    for name, *grant in rows:
        found.setdefault(name, []).append(grant)
    return {name: _grants(grants) for name, grants in found.items()}


async def replace(tx: Driver, model: Subject, grants: Grants) -> None:
    """Make these the grants on a model, and no others."""
    await tx.execute(_DELETE, _key(model))
    await add(tx, model, grants)


async def add(tx: Driver, model: Subject, grants: Grants) -> None:
    """Grant what was not granted yet."""
    if grants:
        await tx.execute(_INSERT, {**_key(model), **_columns(grants)})


def _grants(rows: Sequence[Sequence[Any]]) -> Grants:
    return {
        Principal(kind=PrincipalKind(kind), name=name): Level(level) for kind, name, level in rows if kind is not None
    }


def _columns(grants: Grants) -> Mapping[str, list[Any]]:
    return {
        "kinds": [principal.kind.value for principal in grants],
        "names": [principal.name for principal in grants],
        "levels": [int(level) for level in grants.values()],
    }


def _key(model: Subject) -> dict[str, int]:
    return {"registered_model_id": model.registered_model_id}
