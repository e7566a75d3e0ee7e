"""What can be done with comments: one public method is one transaction."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from services.common import idempotency
from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.errors import ACCESS_DENIED, PermissionDenied
from services.common.pages import PageTokens
from services.registry import ids, rules
from services.registry.comments import model, store
from services.registry.comments.model import Comment
from services.registry.events.model import By, Event, Kind, Subject, change, check_page_size
from services.registry.events.service import record
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import not_found as version_not_found
from services.registry.permissions.model import Level
from services.registry.permissions.service import level_of
from services.registry.registered_models import store as registered_models_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Comments:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch."""

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]

    async def create(self, name: str, version: str, *, comment: str, caller: Caller, request_id: str) -> Comment:
        """Comment on a version. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        number = rules.parse_version(version)
        model.check(comment)
        by = By(caller=caller, now_ms=self.now_ms())

        async with self.db.pipeline() as tx:

            async def create() -> str:
                held = await _version_of(tx, name, number, hold=True)
                added = await store.add(tx, held, number, user_id=by.actor, comment=comment, now_ms=by.now_ms)
                await _record(tx, held, Kind.COMMENT_CREATED, number, added, after=comment, by=by)
                return ids.encode(added)

            id_ = await idempotency.once(
                tx,
                caller=caller.name,
                operation="CreateComment",
                request_id=request_id,
                fingerprint=idempotency.fingerprint(name, number, comment),
                create=create,
            )
            return (await _named(tx, id_, caller))[1]

    async def update(self, id_: str, *, comment: str, caller: Caller) -> Comment:
        """Change what a comment says. Raises NotFound, InvalidArgument; PermissionDenied for all but its author."""
        model.check(comment)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held, before = await _named(tx, id_, caller, wanted=model.EDIT)
            if comment == before.comment:
                return before
            await _record(
                tx, held, Kind.COMMENT_UPDATED, before.version, before.comment_id,
                before=before.comment, after=comment, by=by,
            )  # fmt: skip
            await store.update(tx, before.comment_id, comment=comment, now_ms=by.now_ms)
        return dataclasses.replace(before, comment=comment, last_updated_timestamp=by.now_ms)

    async def delete(self, id_: str, *, caller: Caller) -> None:
        """Delete a comment. Raises NotFound; PermissionDenied for all but its author and who manages the model."""
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held, before = await _named(tx, id_, caller, wanted=model.DELETE)
            await _record(
                tx, held, Kind.COMMENT_DELETED, before.version, before.comment_id, before=before.comment, by=by
            )
            await store.delete(tx, before.comment_id)

    async def list(
        self, name: str, version: str, *, max_results: int, page_token: str, caller: Caller
    ) -> tuple[list[Comment], str | None]:
        """Return a page of a version's comments, oldest first, and the token of the next one. Raises NotFound,
        InvalidArgument.
        """
        rules.check_name(name)
        number = rules.parse_version(version)
        check_page_size(max_results)
        query = ["comments", name, number]
        (after,) = self.pages.decode(page_token, query) if page_token else (0,)
        async with self.db.pipeline(snapshot=True) as tx:
            found = await _version_of(tx, name, number)
            level = await level_of(tx, found, caller)
            comments = await store.of_version(tx, found, number, after=after, limit=max_results + 1)
        page = [_seen(comment, caller, level) for comment in comments[:max_results]]
        token = self.pages.encode([page[-1].comment_id], query) if len(comments) > max_results else None
        return page, token


async def _version_of(tx: Driver, name: str, version: int, *, hold: bool = False) -> Subject:
    """Return the model of a version that exists. Raises NotFound."""
    look = registered_models_store.hold if hold else registered_models_store.find
    found = await look(tx, name)
    if found is None or await versions_store.get_of(tx, found, version) is None:
        raise version_not_found(name, version)
    return found


async def _named(tx: Driver, id_: str, caller: Caller, *, wanted: str | None = None) -> tuple[Subject, Comment]:
    """Return a comment as it is seen, and its model, which nobody else changes until the transaction ends.

    Raises NotFound, also if the caller may not read it, and PermissionDenied unless they may do what is wanted.
    """
    number = ids.decode(id_)
    found = None if number is None else await store.get(tx, number)
    if found is None:
        raise model.not_found(id_)
    held = await registered_models_store.find_by_id(tx, found.registered_model_id, hold=True)
    # Somebody else may have changed or deleted it before.
    found = await store.get(tx, found.comment_id)
    level = await level_of(tx, held, caller) if held else Level.NONE
    if held is None or found is None or level < Level.READ:
        raise model.not_found(id_)
    seen = _seen(found, caller, level)
    if wanted is not None and wanted not in seen.available_actions:
        raise PermissionDenied(ACCESS_DENIED)
    return held, seen


def _seen(comment: Comment, caller: Caller, level: Level) -> Comment:
    return dataclasses.replace(comment, available_actions=model.actions(comment, caller=caller.name, level=level))


async def _record(
    tx: Driver, held: Subject, kind: Kind, version: int, comment_id: int, *,
    before: str | None = None, after: str | None = None, by: By,
) -> None:  # fmt: skip
    changes = {"comment": change(before, after), "comment_id": change(None, ids.encode(comment_id))}
    await record(tx, held, Event(kind=kind, version=version, changes=changes), by=by)
