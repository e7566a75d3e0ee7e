"""Decides whether a registered model may be changed as somebody wants it: the place of the promotion policy."""

from collections.abc import Sequence

from services.common.database import Driver
from services.registry.events.model import By, Event, Subject


async def check(tx: Driver, model: Subject, events: Sequence[Event], by: By) -> None:
    """Return if all of it may happen. Raises PermissionDenied.

    Whatever moves a version to a stage or an alias to a version asks here, in the transaction of the change and
    before it (services/registry/events/service.py). A model without a policy allows everything, and none has one yet.
    """
    return
