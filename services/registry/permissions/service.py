"""Who may do what with a registered model."""

from services.common.auth import Caller
from services.common.database import Driver
from services.registry.events.model import Subject
from services.registry.permissions.model import Level


async def level_of(tx: Driver, model: Subject, caller: Caller) -> Level:
    """Return how much a caller may do with a model: everything, until grants exist."""
    return Level.MANAGE
