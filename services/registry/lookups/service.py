"""Answers which version a name stands for, from memory where that is true."""

from collections.abc import Mapping, Sequence

from prometheus_client import Counter

from services.common.database import Database
from services.common.errors import Unavailable
from services.common.group_read import GroupRead
from services.registry import rules
from services.registry.aliases.service import no_version
from services.registry.events.listener import Listener
from services.registry.lookups import store
from services.registry.lookups.cache import States
from services.registry.lookups.model import ModelState, Resolved, Selector

_STAMPS_MAX = 1000

LOOKUPS = Counter("modelstead_lookups", "Lookups of model versions, by what answered.", ["answered_by"])
_FROM_MEMORY, _FROM_DATABASE = LOOKUPS.labels("memory"), LOOKUPS.labels("database")


class Lookups:
    """The use-cases. `states` is what watches read as well."""

    def __init__(self, db: Database, listener: Listener) -> None:
        self._db = db
        self._stamps = GroupRead(self._read_stamps, keys_max=_STAMPS_MAX)
        self.states = States(self._read_states, listener)

    async def resolve(self, name: str, selector: Selector, *, min_revision: int, strict: bool) -> Resolved:
        """Return the version that an alias, a stage or a number stands for, as of now if `strict`, else as it was at
        most 250 ms ago. Raises NotFound, InvalidArgument; Unavailable rather than tell what may be older.
        """
        state = None if strict else self.states.peek(name)
        found = state.find(selector) if state is not None else None
        if found is not None and found.revision >= min_revision:
            _FROM_MEMORY.inc()
        else:
            _FROM_DATABASE.inc()
            found = await self._resolve(name, selector, strict=strict)
        if found.revision < min_revision:
            raise Unavailable(f"Registered Model with name={name} is at revision {found.revision}, not {min_revision}.")
        return found

    async def by_alias(self, name: str, alias: str) -> Resolved:
        """Return the version that an alias points at now; `latest` is the newest one. Raises NotFound;
        InvalidArgument also for no such alias, as MLflow.
        """
        _FROM_DATABASE.inc()
        selector = Selector(alias=alias)
        found = await self._confirmed(name, selector)
        if found is None:
            rules.check_name(name)
            rules.check_alias(alias)
            state = await self.states.fresh(name)
            found = state.find(selector)
            if found is None:
                raise no_version(name, alias, model_exists=state.exists)
        return found

    async def _resolve(self, name: str, selector: Selector, *, strict: bool) -> Resolved:
        """Look in what is read from now on."""
        rules.check_name(name)
        selector.check()
        found = await self._confirmed(name, selector) if strict else None
        if found is None:
            state = await self.states.fresh(name)
            found = state.find(selector) or await self._of_number(state, selector)
            if found is None:
                raise selector.not_found(state)
        return found

    async def _confirmed(self, name: str, selector: Selector) -> Resolved | None:
        """Return what is known of it if that is still true; nothing otherwise."""
        state = self.states.last_known(name)
        found = state.find(selector) if state is not None else None
        if found is None:
            return None
        version = found.model_version
        stamp = await self._stamps.get((name, int(version.version)))
        return found if stamp == (found.revision, version.last_updated_timestamp) else None

    async def _of_number(self, state: ModelState, selector: Selector) -> Resolved | None:
        if selector.number is None or not state.exists:
            return None
        async with self._db.reading() as tx:
            found = await store.version(tx, state.name, selector.number)
        if found is not None:
            state.keep(selector, found)
        return found

    async def _read_states(self, names: Sequence[str]) -> Mapping[str, ModelState]:
        async with self._db.reading() as tx:
            return await store.states(tx, names)

    async def _read_stamps(self, keys: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], tuple[int, int] | None]:
        async with self._db.reading() as tx:
            return await store.stamps(tx, keys)
