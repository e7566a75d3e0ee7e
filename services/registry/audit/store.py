"""The SQL of the audit: events of all models by what an auditor asks for."""

from collections.abc import Sequence

from services.common.database import Driver
from services.registry.audit.model import Question
from services.registry.events.model import Told
from services.registry.events.store import TOLD, told_of

# The model of a name or, if no model has it, all those that ever had it.
_SELECT_MODELS = """
    WITH present AS (
        SELECT registered_model_id
        FROM registered_models
        WHERE workspace = 'default'
            AND name = %(name)s
    )
    SELECT registered_model_id
    FROM present
    UNION
    SELECT registered_model_id
    FROM events
    WHERE workspace = 'default'
        AND name = %(name)s
        AND NOT EXISTS (SELECT FROM present)
"""

_SELECT = (
    TOLD
    + """
    WHERE workspace = 'default'
        AND event_id < %(before)s
        AND (%(model_ids)s::bigint[] IS NULL OR registered_model_id = ANY(%(model_ids)s::bigint[]))
        AND (%(actor)s::text IS NULL OR actor = %(actor)s)
        AND (%(kind)s::text IS NULL OR kind = %(kind)s)
        AND (%(from_timestamp)s::bigint IS NULL OR creation_timestamp >= %(from_timestamp)s)
        AND (%(to_timestamp)s::bigint IS NULL OR creation_timestamp <= %(to_timestamp)s)
    ORDER BY event_id DESC
    LIMIT %(limit)s
"""
)


async def models_of(tx: Driver, name: str) -> list[int]:
    """Return the number of the model that has a name; if none has, of those that ever had it."""
    rows = await (await tx.execute(_SELECT_MODELS, {"name": name})).fetchall()
    return [row[0] for row in rows]


async def newest(
    tx: Driver, question: Question, *, registered_model_ids: Sequence[int] | None, before: int, limit: int
) -> list[Told]:
    """Return the events asked for, of some models or of all, with lower numbers than `before`, newest first."""
    given = {
        "model_ids": None if registered_model_ids is None else list(registered_model_ids),
        "actor": question.actor or None,
        "kind": question.kind or None,
        "from_timestamp": question.from_timestamp,
        "to_timestamp": question.to_timestamp,
        "before": before,
        "limit": limit,
    }
    return [told_of(row) for row in await (await tx.execute(_SELECT, given)).fetchall()]
