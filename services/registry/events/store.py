"""The SQL of events: they are added and read, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.common.database import Driver
from services.registry.events.model import By, Event, Kind, Position, Subject, Told

# Heard by every replica once the transaction has committed; the payload is the name of the model.
CHANNEL = "registry_events"

_RECORD = """
    WITH model AS (
        UPDATE registered_models
        SET revision = revision + %(count)s
        WHERE registered_model_id = %(registered_model_id)s
        RETURNING workspace, registered_model_id, name, revision - %(count)s AS revision_before
    )
    INSERT INTO events (
        workspace, registered_model_id, name, revision, version, kind, actor, creation_timestamp, changes
    )
    SELECT
        workspace, registered_model_id, name, revision_before + place, version, kind, %(actor)s, %(now_ms)s,
        changes::jsonb
    FROM model
    CROSS JOIN unnest(%(versions)s::bigint[], %(kinds)s::text[], %(changes)s::text[])
        WITH ORDINALITY AS i (version, kind, changes, place)
    ORDER BY place
"""

# A payload has at most 8,000 bytes, and a name at most 256 characters.
_NOTIFY = """
    SELECT pg_notify(%(channel)s, name)
    FROM unnest(%(names)s::text[]) AS i (name)
"""

_READ_AFTER = """
    SELECT
        transaction_id, event_id, registered_model_id, name, revision, version, kind, actor, creation_timestamp, changes
    FROM events
    WHERE (transaction_id, event_id) > (%(transaction_id)s, %(event_id)s)
        AND transaction_id < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint
    ORDER BY transaction_id, event_id
    LIMIT %(limit)s
"""

_SELECT_CREATOR = """
    SELECT actor
    FROM events
    WHERE registered_model_id = %(registered_model_id)s
    ORDER BY revision
    LIMIT 1
"""

_NEWEST = """
    SELECT
        transaction_id, event_id, registered_model_id, name, revision, version, kind, actor, creation_timestamp, changes
    FROM events
    WHERE registered_model_id = %(registered_model_id)s
        AND kind = %(kind)s
    ORDER BY revision DESC
    LIMIT 1
"""

# The revision of a name that no model has: that of its deletion or, where the model went on under another name, one
# more than the last that it had under this one. The name is the column `name` of what a statement calls `wanted`.
REVISION_OF_ABSENT = """
    coalesce(
        (
            SELECT e.revision + CASE e.kind WHEN 'REGISTERED_MODEL_DELETED' THEN 0 ELSE 1 END
            FROM events AS e
            WHERE e.workspace = 'default'
                AND e.name = wanted.name
            ORDER BY e.revision DESC
            LIMIT 1
        ),
        0
    )
"""

_CATCH_UP = (
    """
    UPDATE registered_models AS wanted
    SET revision = greatest(wanted.revision, """  # noqa: S608 -- of fixed parts
    + REVISION_OF_ABSENT
    + """)
    WHERE wanted.registered_model_id = %(registered_model_id)s
"""
)


async def add(tx: Driver, model: Subject, events: Sequence[Event], by: By) -> None:
    """Tell what happens to a model, in that order, each under the model's next revision."""
    await tx.execute(
        _RECORD,
        {
            "registered_model_id": model.registered_model_id,
            "count": len(events),
            "versions": [event.version for event in events],
            "kinds": [event.kind.value for event in events],
            "changes": [orjson.dumps(event.changes).decode() for event in events],
            "actor": by.actor,
            "now_ms": by.now_ms,
        },
    )
    await tx.execute(_NOTIFY, {"channel": CHANNEL, "names": _names(model, events)})


async def read_after(tx: Driver, position: Position, *, limit: int) -> list[Told]:
    """Return the events that follow a position in the order of positions, at most `limit`.

    Only events whose order is final are returned: those of a transaction are held back while an older one is open.
    """
    given = {"transaction_id": position.transaction_id, "event_id": position.event_id, "limit": limit}
    rows = await (await tx.execute(_READ_AFTER, given)).fetchall()
    return [_told(*row) for row in rows]


async def newest(tx: Driver, model: Subject, kind: Kind) -> Told:
    """Return the newest event of a kind that was told of a model."""
    given = {"registered_model_id": model.registered_model_id, "kind": kind.value}
    row = await (await tx.execute(_NEWEST, given)).fetchone()
    assert row is not None, "nobody asks for what was not told"
    return _told(*row)


async def creator_of(tx: Driver, model: Subject) -> str | None:
    """Return who made a model."""
    row = await (await tx.execute(_SELECT_CREATOR, {"registered_model_id": model.registered_model_id})).fetchone()
    return row[0] if row else None


async def catch_up(tx: Driver, model: Subject) -> None:
    """Go on counting where a model that had the same name before stopped, so that under a name nothing goes back."""
    await tx.execute(_CATCH_UP, {"registered_model_id": model.registered_model_id})


def _names(model: Subject, events: Sequence[Event]) -> list[str]:
    """Return the names under which something changed: a rename leaves one and takes another."""
    left = [event.changes["name"]["from"] for event in events if event.kind is Kind.MODEL_RENAMED]
    return list(dict.fromkeys([model.name, *left]))


def _told(
    transaction_id: int, event_id: int, registered_model_id: int, name: str, revision: int, version: int | None,
    kind: str, actor: str, creation_timestamp: int, changes: Mapping[str, Mapping[str, Any]],
) -> Told:  # fmt: skip
    return Told(
        position=Position(transaction_id=transaction_id, event_id=event_id),
        model=Subject(registered_model_id=registered_model_id, name=name),
        revision=revision,
        event=Event(kind=Kind(kind), version=version, changes=changes),
        actor=actor,
        creation_timestamp=creation_timestamp,
    )


# What `told_of` reads, for statements that find events in other ways.
TOLD = """
    SELECT
        transaction_id, event_id, registered_model_id, name, revision, version, kind, actor, creation_timestamp, changes
    FROM events
"""


def told_of(row: Sequence[Any]) -> Told:
    """Return the event that a row of `TOLD` is."""
    return _told(*row)
