"""The SQL of history: events of a model in order, and which model had a name when."""

from services.common.database import Driver
from services.registry.events.model import Told
from services.registry.events.store import TOLD, told_of

# Under a name revisions never fall, whichever models have it.
_SELECT_LAST = (
    TOLD
    + """
    WHERE workspace = 'default'
        AND name = %(name)s
        AND (%(revision)s::bigint IS NULL OR revision <= %(revision)s)
        AND (%(timestamp)s::bigint IS NULL OR creation_timestamp <= %(timestamp)s)
    ORDER BY revision DESC
    LIMIT 1
"""
)

_SELECT_FOLLOWING = (
    TOLD
    + """
    WHERE registered_model_id = %(registered_model_id)s
        AND revision > %(revision)s
    ORDER BY revision
    LIMIT %(limit)s
"""
)


async def last_under(tx: Driver, name: str, *, revision: int | None, timestamp: int | None) -> Told | None:
    """Return the last event told under a name, up to a revision or a time."""
    given = {"name": name, "revision": revision, "timestamp": timestamp}
    row = await (await tx.execute(_SELECT_LAST, given)).fetchone()
    return told_of(row) if row else None


async def following(tx: Driver, registered_model_id: int, *, revision: int, limit: int) -> list[Told]:
    """Return the events of a model that follow a revision, in order."""
    given = {"registered_model_id": registered_model_id, "revision": revision, "limit": limit}
    return [told_of(row) for row in await (await tx.execute(_SELECT_FOLLOWING, given)).fetchall()]
