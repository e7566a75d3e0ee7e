"""The SQL of activities: which events of a model may be some."""

from collections.abc import Sequence

from services.common.database import Driver
from services.registry.events.model import Kind, Subject, Told
from services.registry.events.store import TOLD, told_of

_SELECT = (
    TOLD
    + """
    WHERE registered_model_id = %(registered_model_id)s
        AND revision < %(before)s
        AND kind = ANY(%(kinds)s::text[])
        AND (%(version)s::bigint IS NULL OR version = %(version)s)
    ORDER BY revision DESC
    LIMIT %(limit)s
"""
)


async def newest(
    tx: Driver, model: Subject, *, kinds: Sequence[Kind], version: int | None, before: int, limit: int
) -> list[Told]:
    """Return the events of some kinds with lower revisions than `before`, newest first; of one version if given."""
    given = {
        "registered_model_id": model.registered_model_id,
        "kinds": [kind.value for kind in kinds],
        "version": version,
        "before": before,
        "limit": limit,
    }
    return [told_of(row) for row in await (await tx.execute(_SELECT, given)).fetchall()]
