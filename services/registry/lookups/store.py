"""The SQL of lookups: what models stand at, each statement at one snapshot of its own."""

from collections.abc import Sequence
from typing import Any

from services.common.database import Driver
from services.registry.events.store import REVISION_OF_ABSENT
from services.registry.lookups.model import ModelState, Resolved, ServedVersion
from services.registry.model_versions.store import COLUMNS, STAGES, version_of
from services.registry.rules import VERSION_MAX

# What a state takes in memory besides its texts, and so for each version.
_OVERHEAD_BYTES = 1000
_STATE_COLUMNS = 5

# A row for each version of a state, or one without a version.
_SELECT_STATES = (
    """
    SELECT
        wanted.name, m.registered_model_id IS NOT NULL,
        CASE WHEN m.registered_model_id IS NULL THEN """  # noqa: S608 -- of fixed parts
    + REVISION_OF_ABSENT
    + """ ELSE m.revision END,
        (
            SELECT e.creation_timestamp
            FROM events AS e
            WHERE e.registered_model_id = m.registered_model_id
                AND e.revision = m.revision
        ),
        v.storage_location,"""
    + COLUMNS
    + """
    FROM unnest(%(names)s::text[]) AS wanted (name)
    LEFT JOIN registered_models AS m ON m.workspace = 'default' AND m.name = wanted.name
    LEFT JOIN LATERAL (
        SELECT a.version
        FROM registered_model_aliases AS a
        WHERE a.registered_model_id = m.registered_model_id
        UNION
        SELECT l.last_version
        FROM (SELECT m.registered_model_id) AS i
        CROSS JOIN LATERAL ("""
    + STAGES
    + """) AS l
        UNION
        SELECT max(n.version)
        FROM model_versions AS n
        WHERE n.registered_model_id = m.registered_model_id
    ) AS p ON true
    LEFT JOIN model_versions AS v ON v.registered_model_id = m.registered_model_id AND v.version = p.version
    ORDER BY wanted.name, p.version
"""
)

_SELECT_VERSION = (
    """
    SELECT
        m.revision, v.storage_location,"""
    + COLUMNS
    + """
    FROM registered_models AS m
    JOIN model_versions AS v ON v.registered_model_id = m.registered_model_id
    WHERE m.workspace = 'default'
        AND m.name = %(name)s
        AND v.version = %(version)s
"""
)

_SELECT_STAMPS = """
    SELECT m.name, v.version, m.revision, v.last_updated_timestamp
    FROM unnest(%(names)s::text[], %(versions)s::bigint[]) AS wanted (name, version)
    JOIN registered_models AS m ON m.workspace = 'default' AND m.name = wanted.name
    JOIN model_versions AS v ON v.registered_model_id = m.registered_model_id AND v.version = wanted.version
"""


async def states(tx: Driver, names: Sequence[str]) -> dict[str, ModelState]:
    """Return what each of some different names stands at, all of it at one time."""
    rows = await (await tx.execute(_SELECT_STATES, {"names": list(names)})).fetchall()
    rows_of: dict[str, list[Sequence[Any]]] = {name: [] for name in names}
    for row in rows:
        rows_of[row[0]].append(row)
    return {name: _state(rows) for name, rows in rows_of.items()}


async def version(tx: Driver, name: str, number: int) -> Resolved | None:
    """Return a version by its number."""
    given = {"name": name, "version": number if 0 < number <= VERSION_MAX else 0}
    row = await (await tx.execute(_SELECT_VERSION, given)).fetchone()
    return Resolved(model_version=_version(row[1:]), revision=row[0]) if row else None


async def stamps(tx: Driver, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int] | None]:
    """Return, for versions by name and number, the model's revision and the time of the version's last change, which
    is told also where it changed nothing; None for a version that is not there.
    """
    given = {"names": [key[0] for key in keys], "versions": [key[1] for key in keys]}
    rows = await (await tx.execute(_SELECT_STAMPS, given)).fetchall()
    found = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    return {key: found.get(key) for key in keys}


def _state(rows: Sequence[Sequence[Any]]) -> ModelState:
    name, exists, revision, change_timestamp = rows[0][:4]
    versions = [_version(row[4:]) for row in rows if row[_STATE_COLUMNS] is not None]
    return ModelState(
        name=name,
        revision=revision,
        exists=exists,
        versions=versions,
        change_timestamp=change_timestamp,
        bytes_count=_OVERHEAD_BYTES + sum(map(_bytes_count, versions)),
    )


def _version(row: Sequence[Any]) -> ServedVersion:
    storage_location, *columns = row
    found = version_of(columns, with_aliases=True)
    fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return ServedVersion(**fields, download_uri=storage_location)


def _bytes_count(version: ServedVersion) -> int:
    texts = (version.description or "", *version.tags, *version.tags.values(), *version.aliases)
    # Once as it is, and once in its wire form.
    return 2 * (_OVERHEAD_BYTES + sum(map(len, texts)))
