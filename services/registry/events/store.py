"""The SQL of events: they are added, and nothing else."""

from collections.abc import Sequence

import orjson

from services.common.database import Driver
from services.registry.events.model import By, Event, Subject

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

_CATCH_UP = """
    UPDATE registered_models AS m
    SET revision = greatest(m.revision, (
        SELECT coalesce(max(e.revision), 0)
        FROM events AS e
        WHERE e.workspace = m.workspace
            AND e.name = m.name
    ))
    WHERE m.registered_model_id = %(registered_model_id)s
"""


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


async def catch_up(tx: Driver, model: Subject) -> None:
    """Go on counting where a model that had the same name before stopped, so that under a name nothing goes back."""
    await tx.execute(_CATCH_UP, {"registered_model_id": model.registered_model_id})
