"""The SQL of checks: fixed statements, on the driver."""

from services.common.database import Driver
from services.registry.checks.model import VersionCheck
from services.registry.events.model import By, Subject

_SELECT = """
    SELECT "check", state, url, description, user_id, last_updated_timestamp
    FROM model_version_checks
    WHERE registered_model_id = %(registered_model_id)s
        AND version = %(version)s
    ORDER BY "check" COLLATE "C"
"""

_UPSERT = """
    INSERT INTO model_version_checks (
        registered_model_id, version, "check", state, url, description, user_id, groups, last_updated_timestamp
    )
    VALUES (
        %(registered_model_id)s, %(version)s, %(check)s, %(state)s, %(url)s, %(description)s, %(user_id)s, %(groups)s,
        %(last_updated_timestamp)s
    )
    ON CONFLICT (registered_model_id, version, "check") DO UPDATE
    SET state = excluded.state,
        url = excluded.url,
        description = excluded.description,
        user_id = excluded.user_id,
        groups = excluded.groups,
        last_updated_timestamp = excluded.last_updated_timestamp
"""


async def of_version(tx: Driver, model: Subject, version: int) -> list[VersionCheck]:
    """Return the checks of a version in the order of their names."""
    given = {"registered_model_id": model.registered_model_id, "version": version}
    rows = await (await tx.execute(_SELECT, given)).fetchall()
    return [VersionCheck(**dict(zip(VersionCheck.__slots__, row, strict=True))) for row in rows]


async def set_check(tx: Driver, model: Subject, version: int, check: VersionCheck, *, by: By) -> None:
    """Post a check, over an older one of that name, with the groups that its poster has now."""
    fields = {name: getattr(check, name) for name in VersionCheck.__slots__}
    key = {"registered_model_id": model.registered_model_id, "version": version}
    await tx.execute(_UPSERT, {**key, **fields, "groups": sorted(by.caller.groups)})
