"""Who may do what with a registered model, and how that changes: one public method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.common.auth import ANONYMOUS, Caller
from services.common.database import Database, Driver
from services.common.errors import NotFound
from services.common.grants import AccessControl, Description, Entry, parse
from services.registry import ids, rules
from services.registry.events import store as events_store
from services.registry.events.model import By, Event, Kind, Subject
from services.registry.events.service import record
from services.registry.model_versions.model import ModelVersion
from services.registry.permissions import model, store
from services.registry.permissions.model import Defaults, Grants, Level
from services.registry.permissions.service import require
from services.registry.registered_models import model as registered_models
from services.registry.registered_models import store as registered_models_store

OBJECT_TYPE = "registered-model"
_ROOT = "/registered-models/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """Who holds what on the model at `object_id`."""

    object_id: str
    access_control_list: list[AccessControl]
    object_type: str = OBJECT_TYPE


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A model, who made it, and what the caller may do with it. Times are milliseconds since the Unix epoch."""

    id: str
    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None
    description: str | None
    latest_versions: Sequence[ModelVersion]
    tags: Mapping[str, str]
    permission_level: Level


@dataclass(frozen=True, kw_only=True, slots=True)
class Granting:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch; `changed` is told of each model by name once
    its grants have changed.
    """

    db: Database
    now_ms: Callable[[], int]
    defaults: Defaults
    changed: Callable[[str], None]

    async def get(self, registered_model_id: str, *, caller: Caller) -> Permissions:
        """Return who holds what. Raises NotFound, also if the caller may not read the model."""
        async with self.db.pipeline(snapshot=True) as tx:
            found = await _named(tx, registered_model_id, caller)
            return self._answer(found, await store.grants_of(tx, found))

    async def set(self, registered_model_id: str, entries: Sequence[Entry], *, caller: Caller) -> Permissions:
        """Make these the grants, and no others. Raises NotFound, InvalidArgument, PermissionDenied."""
        grants = parse(entries, Level)
        return await self._change(registered_model_id, lambda _: grants, caller=caller)

    async def update(self, registered_model_id: str, entries: Sequence[Entry], *, caller: Caller) -> Permissions:
        """Grant this besides or instead of what the same principals hold. Raises NotFound, InvalidArgument,
        PermissionDenied.
        """
        grants = parse(entries, Level)
        return await self._change(registered_model_id, lambda before: {**before, **grants}, caller=caller)

    async def levels(self, registered_model_id: str, *, caller: Caller) -> list[Description]:
        """Return what each level is for. Raises NotFound unless there is such a model that the caller may read."""
        async with self.db.pipeline() as tx:
            await _named(tx, registered_model_id, caller)
        return model.descriptions()

    async def standing(self, name: str, *, caller: Caller) -> Standing:
        """Return a model with what the caller may do with it. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        async with self.db.pipeline(snapshot=True) as tx:
            found = await registered_models_store.find(tx, name)
            if found is None:
                raise registered_models.not_found(name)
            user_id = await events_store.creator_of(tx, found)
            level = await store.level_of(tx, found, caller)
            (details,) = await registered_models_store.with_details(tx, [found.registered_model_id])
        return Standing(
            id=ids.encode(found.registered_model_id),
            name=details.name,
            creation_timestamp=details.creation_timestamp,
            last_updated_timestamp=details.last_updated_timestamp,
            user_id=user_id if user_id != ANONYMOUS.name else None,
            description=details.description,
            latest_versions=details.latest_versions,
            tags=details.tags,
            permission_level=level,
        )

    async def _change(
        self, registered_model_id: str, wanted: Callable[[Grants], Grants], *, caller: Caller
    ) -> Permissions:
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await _named(tx, registered_model_id, caller, hold=True)
            await require(tx, held, caller, Level.MANAGE)
            before = await store.grants_of(tx, held)
            after = wanted(before)
            changed = model.told(before, after)
            if changed:
                model.check_new(after, caller=caller, defaults=self.defaults)
                await record(tx, held, Event(kind=Kind.PERMISSIONS_SET, changes=changed), by=by)
                await store.replace(tx, held, after)
        self.changed(held.name)
        return self._answer(held, after)

    def _answer(self, subject: Subject, grants: Grants) -> Permissions:
        return Permissions(
            object_id=_ROOT + ids.encode(subject.registered_model_id),
            access_control_list=model.access_control(grants, self.defaults, root=_ROOT),
        )


async def _named(tx: Driver, registered_model_id: str, caller: Caller, *, hold: bool = False) -> Subject:
    number = ids.decode(registered_model_id)
    found = None if number is None else await registered_models_store.find_by_id(tx, number, hold=hold)
    if found is None or await store.level_of(tx, found, caller) < Level.READ:
        raise NotFound(f"Registered Model with id={registered_model_id[:100]} not found")
    return found
