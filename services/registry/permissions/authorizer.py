"""The access stage of the registry: holds each call against what its proto demands and what its caller was granted.

What was granted is kept in memory, by name of the model, until that model changes (events/listener.py tells of it, on
every replica). Where everyone may do as much as a call demands, nothing is looked up at all.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from services.common.auth import ANONYMOUS, Caller
from services.common.database import Database
from services.common.errors import ACCESS_DENIED, PermissionDenied
from services.common.group_read import GroupRead
from services.common.rpc.contract import Contract
from services.registry import rules
from services.registry.permissions import model, store
from services.registry.permissions.model import Defaults, Grants, Level
from services.registry.registered_models.model import not_found

# Counts each model once and each of its grants.
_HELD_MAX = 100_000
_READ_NAMES_MAX = 1000

_MODEL = "registered_model"


class Authorizer:
    """Decides whether a caller may make a call: a `services.common.rpc.pipeline.Authorizer`.

    A call on a model that does not exist is answered by the use-case, which says so in its own words, if the caller may
    do as much with any model. If not, it is NotFound where everyone may read every model, and else refused like one on
    a model that the caller may not read, so that nobody learns which there are.
    """

    def __init__(self, db: Database, defaults: Defaults, *, hears: Callable[[], bool]) -> None:
        """`hears` tells whether `forget` has been told of all changes but the newest; while not, all is looked up."""
        self._db = db
        self._defaults = defaults
        self._hears = hears
        self._grants = _Memory()
        self._reads = GroupRead(self._read, keys_max=_READ_NAMES_MAX)

    def forget(self, name: str | None) -> None:
        """Look again at what is granted on a model, or on all of them."""
        self._grants.forget(name)

    async def check(self, caller: Caller, contract: Contract, request: Any) -> None:
        """Return if the call is allowed. Raises PermissionDenied, NotFound."""
        if self._defaults.level is Level.MANAGE:
            return
        access = contract.access
        level = Level(access.level)
        if level <= self._defaults.level_of(caller) or access.asked_by_use_case:
            return
        names = _names(request, access.id_field) if access.resource == _MODEL else []
        if not names:
            # What names no model is about all of them.
            if level > self._defaults.platform_level_of(caller, is_known=caller != ANONYMOUS):
                raise PermissionDenied(ACCESS_DENIED)
            return
        granted = await self._granted(names)
        for name in names:
            self._check(caller, name, granted.get(name), level)

    def _check(self, caller: Caller, name: str, grants: Grants | None, level: Level) -> None:
        if grants is None and self._defaults.level_of(caller) >= Level.READ:
            raise not_found(name)
        if grants is None or model.level_of(grants, caller, self._defaults) < level:
            raise PermissionDenied(ACCESS_DENIED)

    async def _granted(self, names: Sequence[str]) -> Mapping[str, Grants]:
        """Return what is granted on those of the models that exist."""
        known = self._grants.of(names) if self._hears() else {}
        unknown = [name for name in names if name not in known and len(name) <= rules.NAME_LENGTH_MAX]
        # Of a model that changes, all who watch it ask at once.
        read = await asyncio.gather(*map(self._reads.get, unknown)) if unknown else ()
        return known | {name: grants for name, grants in zip(unknown, read, strict=True) if grants is not None}

    async def _read(self, names: Sequence[str]) -> dict[str, Grants | None]:
        with self._grants.reading(names) as keep:
            async with self._db.reading() as tx:
                read = await store.grants_of_names(tx, names)
            keep(read)
        return {name: read.get(name) for name in names}


class _Reading:
    """A look at the grants on some models, which tells nothing of those that change meanwhile."""

    def __init__(self, memory: "_Memory", names: Iterable[str]) -> None:
        self._memory = memory
        self.names = set(names)

    def __enter__(self) -> Any:
        self._memory.readings.add(self)
        return self._keep

    def __exit__(self, *_: object) -> None:
        self._memory.readings.discard(self)

    def _keep(self, read: Mapping[str, Grants]) -> None:
        for name in self.names & read.keys():
            self._memory.keep(name, read[name])


class _Memory:
    """The grants on models that exist, by name; the oldest go when there are too many.

    That there is no model of a name is not kept: what is made under it would be open until that was forgotten.
    """

    def __init__(self) -> None:
        self.readings: set[_Reading] = set()
        self._grants: dict[str, Grants] = {}
        self._held = 0

    def of(self, names: Iterable[str]) -> dict[str, Grants]:
        return {name: self._grants[name] for name in names if name in self._grants}

    def reading(self, names: Iterable[str]) -> _Reading:
        return _Reading(self, names)

    def keep(self, name: str, grants: Grants) -> None:
        self._drop(name)
        self._grants[name] = grants
        self._held += 1 + len(grants)
        while self._held > _HELD_MAX:
            self._drop(next(iter(self._grants)))

    def forget(self, name: str | None) -> None:
        for forgotten in list(self._grants) if name is None else [name]:
            self._drop(forgotten)
        for reading in self.readings:
            reading.names = set() if name is None else reading.names - {name}

    def _drop(self, name: str) -> None:
        dropped = self._grants.pop(name, None)
        if dropped is not None:
            self._held -= 1 + len(dropped)


def _names(request: Any, id_field: str) -> list[str]:
    if not id_field:
        return []
    value = getattr(request, id_field)
    return [value] if isinstance(value, str) and value else list(dict.fromkeys(value))
