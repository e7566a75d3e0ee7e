"""How everything changes: the policy is asked, and what happens is told, in the transaction of the change."""

from services.common.database import Driver
from services.registry.events import store
from services.registry.events.model import By, Event, Subject
from services.registry.promotions import service as promotions


async def record(tx: Driver, model: Subject, *events: Event, by: By) -> None:
    """Ask whether something may happen to a model and tell that it does; the caller then does it. Raises
    PermissionDenied. Without events, as where nothing changes, nothing is asked or told.
    """
    if events:
        await promotions.check(tx, model, events, by)
        await store.add(tx, model, events, by)
