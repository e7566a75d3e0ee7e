"""What can be asked of the past: one public method is one transaction."""

from dataclasses import dataclass

from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.errors import InvalidArgument, NotFound
from services.common.pages import PageTokens
from services.registry import rules
from services.registry.events.model import Told
from services.registry.history import model, store
from services.registry.history.model import State
from services.registry.model_versions.model import ModelVersion
from services.registry.permissions.model import Level
from services.registry.permissions.service import level_of

_READ_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The use-cases."""

    db: Database
    pages: PageTokens

    async def as_of(self, name: str, *, revision: int | None, timestamp: int | None, caller: Caller) -> State:
        """Return the model that had a name at a revision, or at a time in milliseconds since the Unix epoch.

        It is read from what happened to it, a piece at a time. Raises InvalidArgument unless exactly one of the two is
        given; NotFound if no model had the name then, or one that the caller may not read.
        """
        rules.check_name(name)
        if (revision is None) == (timestamp is None):
            raise InvalidArgument("Exactly one of 'revision' and 'timestamp' must be given.")
        async with self.db.pipeline(snapshot=True) as tx:
            last = await store.last_under(tx, name, revision=revision, timestamp=timestamp)
            if last is None or await level_of(tx, last.model, caller) < Level.READ:
                raise _not_found(name, revision, timestamp)
            after = await store.following(tx, last.model.registered_model_id, revision=last.revision, limit=1)
            if model.is_gone(last, after, name, revision=revision, timestamp=timestamp):
                raise _not_found(name, revision, timestamp)
            return await _state_at(tx, last)

    async def page_as_of(
        self,
        name: str,
        *,
        revision: int | None,
        timestamp: int | None,
        max_results: int,
        page_token: str,
        caller: Caller,
    ) -> tuple[State, list[ModelVersion], str | None]:
        """Return what `as_of` does, a page of its versions and the token of the next one, which is of the same
        revision. Raises what `as_of` does.
        """
        model.check_page_size(max_results)
        query, after = ["as-of", name, revision, timestamp], 0
        if page_token:
            revision, after = self.pages.decode(page_token, query)
            timestamp = None
        state = await self.as_of(name, revision=revision, timestamp=timestamp, caller=caller)
        versions = state.model_versions(after=after, limit=max_results + 1)
        page = versions[:max_results]
        token = self.pages.encode((state.revision, int(page[-1].version)), query) if len(versions) > len(page) else None
        return state, page, token


async def _state_at(tx: Driver, last: Told) -> State:
    state = State()
    while state.revision < last.revision:
        told = await store.following(tx, last.model.registered_model_id, revision=state.revision, limit=_READ_AT_ONCE)
        state = model.fold(state, (event for event in told if event.revision <= last.revision))
    return state


def _not_found(name: str, revision: int | None, timestamp: int | None) -> NotFound:
    when = f"revision {revision}" if revision is not None else f"timestamp {timestamp}"
    return NotFound(f"Registered Model with name={name} not found at {when}")
