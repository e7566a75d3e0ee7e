"""What can be done with aliases: one public method is one transaction."""

from collections.abc import Callable
from dataclasses import dataclass

from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.errors import InvalidArgument, NotFound, ServiceError
from services.registry import rules
from services.registry.events.model import By, Event, Kind, change
from services.registry.events.service import record
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import ModelVersion
from services.registry.model_versions.model import not_found as version_not_found
from services.registry.promotions import store as promotions_store
from services.registry.registered_models import model, store
from services.registry.registered_models.service import hold
from services.registry.transitions import service as transitions
from services.registry.transitions.model import Expected, Wish


@dataclass(frozen=True, kw_only=True, slots=True)
class Aliases:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch."""

    db: Database
    now_ms: Callable[[], int]

    async def set(
        self, name: str, alias: str, *, version: str, caller: Caller, expected: Expected | None = None
    ) -> None:
        """Point an alias at a version, away from another if need be. Raises NotFound, InvalidArgument, Conflict,
        PermissionDenied.
        """
        rules.check_name(name)
        rules.check_new_alias(alias)
        number = rules.parse_version(version)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await store.hold(tx, name)
            if held is None:
                raise version_not_found(name, number)
            policy = await promotions_store.policy_of(tx, held)
            await transitions.make(tx, held, number, Wish.of(policy, f"@{alias}", expected=expected), by=by)

    async def delete(self, name: str, alias: str, *, caller: Caller, expected: Expected | None = None) -> None:
        """Remove an alias if there is one. Raises NotFound, InvalidArgument, Conflict, PermissionDenied."""
        rules.check_name(name)
        rules.check_alias(alias)
        expected = expected or Expected()
        expected.check()
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await hold(tx, name)
            before = await store.version_of_alias(tx, held, alias)
            expected.check_version(held.name, f"@{alias}", before)
            found = await versions_store.get_of(tx, held, before) if before and expected.stage is not None else None
            expected.check_stage(held.name, before, found.current_stage if found else None)
            if before is not None:
                changes = {f"aliases.{alias}": change(before, None)}
                await record(tx, held, Event(kind=Kind.ALIAS_DELETED, version=before, changes=changes), by=by)
                await store.delete_alias(tx, held, alias)

    async def get(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias points at; `latest` is the newest one. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        rules.check_alias(alias)
        async with self.db.pipeline() as tx:
            return await version_of_alias(tx, name, alias)


async def version_of_alias(tx: Driver, name: str, alias: str) -> ModelVersion:
    """Return the version that an alias points at. Raises NotFound; InvalidArgument for no such alias, as MLflow."""
    if alias.lower() == rules.LATEST:
        found = await versions_store.get_newest(tx, name)
    else:
        found = await versions_store.get_by_alias(tx, name, alias)
    if found is not None:
        return found
    raise no_version(name, alias, model_exists=await store.find(tx, name) is not None)


def no_version(name: str, alias: str, *, model_exists: bool) -> ServiceError:
    """Return the error for an alias that points at nothing, as MLflow."""
    if not model_exists:
        return model.not_found(name)
    if alias.lower() == rules.LATEST:
        return NotFound(f"Latest version not found for model {name}.")
    return InvalidArgument(f"Registered model alias {alias} not found.")
