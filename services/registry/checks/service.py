"""What can be done with checks: one public method is one transaction."""

from collections.abc import Callable
from dataclasses import dataclass

from services.common.auth import Caller
from services.common.database import Database
from services.registry import rules
from services.registry.checks import model, store
from services.registry.checks.model import VersionCheck
from services.registry.events.model import By, Event, Kind, change
from services.registry.events.service import record
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import not_found
from services.registry.promotions.policy import CHECKS_MAX
from services.registry.registered_models import store as models_store


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionChecks:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch."""

    db: Database
    now_ms: Callable[[], int]

    async def set(
        self, name: str, version: str, *, check: str, state: str, url: str, description: str, caller: Caller
    ) -> VersionCheck:
        """Post a check, over an older one of that name. Raises NotFound, InvalidArgument, PermissionDenied."""
        rules.check_name(name)
        number = rules.parse_version(version)
        by = By(caller=caller, now_ms=self.now_ms())
        posted = VersionCheck(
            check=check,
            state=state,
            url=url or None,
            description=description or None,
            user_id=by.actor,
            last_updated_timestamp=by.now_ms,
        )
        posted.validate()
        async with self.db.pipeline() as tx:
            held = await models_store.hold(tx, name)
            if held is None or await versions_store.get_of(tx, held, number) is None:
                raise not_found(name, number)
            before = {one.check: one.state for one in await store.of_version(tx, held, number)}
            if check not in before and len(before) >= CHECKS_MAX:
                raise model.too_many(name, number)
            changes = {f"checks.{check}": change(before.get(check), state)}
            await record(tx, held, Event(kind=Kind.CHECK_SET, version=number, changes=changes), by=by)
            await store.set_check(tx, held, number, posted, by=by)
        return posted

    async def list(self, name: str, version: str) -> list[VersionCheck]:
        """Return the checks of a version in the order of their names. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        number = rules.parse_version(version)
        async with self.db.pipeline(snapshot=True) as tx:
            found = await models_store.find(tx, name)
            if found is None or await versions_store.get_of(tx, found, number) is None:
                raise not_found(name, number)
            return await store.of_version(tx, found, number)
