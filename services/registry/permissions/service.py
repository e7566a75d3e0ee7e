"""What a caller may do with a registered model, asked within a transaction; granting.py changes it."""

from services.common.auth import ANONYMOUS, Caller
from services.common.database import Driver
from services.common.errors import ACCESS_DENIED, PermissionDenied
from services.common.grants import Principal, PrincipalKind
from services.registry.events.model import By, Subject
from services.registry.permissions import store
from services.registry.permissions.model import Level


async def level_of(tx: Driver, subject: Subject, caller: Caller) -> Level:
    """Return how much a caller may do with a model, by what is granted to them, their groups and everyone."""
    return await store.level_of(tx, subject, caller)


async def require(tx: Driver, subject: Subject, caller: Caller, level: Level) -> None:
    """Raises PermissionDenied unless a caller may do this much with a model."""
    if await store.level_of(tx, subject, caller) < level:
        raise PermissionDenied(ACCESS_DENIED)


async def grant_to_creator(tx: Driver, subject: Subject, by: By) -> None:
    """Let whoever creates a model manage it; nobody is known as anonymous."""
    if by.actor != ANONYMOUS.name:
        await store.add(tx, subject, {Principal(kind=PrincipalKind.USER, name=by.actor): Level.MANAGE})
