"""What can be done with transition requests: one public method is one transaction."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.errors import AlreadyExists, InvalidArgument, PermissionDenied
from services.common.pages import PageTokens
from services.registry import rules
from services.registry.activities.model import Activity, activity_of
from services.registry.events import store as events_store
from services.registry.events.model import By, Event, Kind, Subject, changes
from services.registry.events.service import record
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import ModelVersion
from services.registry.model_versions.model import not_found as version_not_found
from services.registry.permissions import service as permissions
from services.registry.permissions.model import Level
from services.registry.promotions import store as promotions_store
from services.registry.promotions.model import Move, Policy, decide, level_needed, missing_way
from services.registry.registered_models import store as models_store
from services.registry.transition_requests import model, store
from services.registry.transition_requests.model import ModelVersionDatabricks, OpenTransitionRequest, TransitionRequest
from services.registry.transitions import service as transitions
from services.registry.transitions.model import Expected, Wish

OPEN_MAX = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """A version of a model that nobody else changes, its policy, and the open requests for it."""

    subject: Subject
    version: ModelVersion
    policy: Policy
    requests: Sequence[TransitionRequest]
    level: Level

    @property
    def number(self) -> int:
        return int(self.version.version)

    def move_to(self, target: str) -> Move:
        before = None if target.startswith("@") else self.version.current_stage
        return Move(version=self.number, before=before, target=target)

    def target_of(self, text: str) -> str:
        """Return the target that a text names, also one that the policy has no more. Raises InvalidArgument."""
        asked = (request.to_stage for request in self.requests)
        folded = text if text.startswith("@") else text.lower()
        known = next((one for one in asked if (one if one.startswith("@") else one.lower()) == folded), None)
        return known or self.policy.target_of(text)

    def requests_for(self, target: str) -> list[TransitionRequest]:
        """Return the open requests for a target. Raises NotFound if there is none."""
        found = [request for request in self.requests if request.to_stage == target]
        if not found:
            raise model.not_found(self.subject.name, self.number, target)
        return found

    def with_actions(self, request: TransitionRequest, caller: Caller) -> TransitionRequest:
        """Return a request with what a caller may do about it."""
        actions = model.available_actions(
            request, policy=self.policy, stage=self.version.current_stage, caller=caller, level=self.level
        )
        return dataclasses.replace(request, available_actions=tuple(actions))


@dataclass(frozen=True, kw_only=True, slots=True)
class TransitionRequests:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch.

    `stage` is a stage in any case, or `@` and an alias. All raise NotFound and InvalidArgument.
    """

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]

    async def create(self, name: str, version: str, *, stage: str, comment: str, caller: Caller) -> TransitionRequest:
        """Ask for a move. Raises AlreadyExists, PermissionDenied."""
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await _hold(tx, name, version, by)
            wish = Wish.of(held.policy, stage, comment=comment)
            await _check_can_be_asked(tx, held, wish)
            expires_ms = held.policy.request_expires_ms
            request = await store.add(
                tx,
                held.subject,
                held.number,
                target=wish.target,
                comment=comment,
                expire_timestamp=by.now_ms + expires_ms if expires_ms else None,
                by=by,
            )
            if request is None:
                raise AlreadyExists(
                    f"Transition request (name={name}, version={held.number}, stage={wish.target}) by {by.actor} "
                    "already exists."
                )
            event = _event(Kind.TRANSITION_REQUEST_CREATED, held, [request], comment)
            await record(tx, held.subject, event, by=by)
            return held.with_actions(request, caller)

    async def approve(
        self,
        name: str,
        version: str,
        *,
        stage: str,
        archive_existing_versions: bool,
        comment: str,
        expected: Expected,
        caller: Caller,
    ) -> Activity:
        """Approve the requests for a move and, if nothing is missing then, make it.

        Raises PermissionDenied, Conflict.
        """
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await _hold(tx, name, version, by)
            wish = Wish.of(held.policy, stage, archive=archive_existing_versions, expected=expected, comment=comment)
            requests = held.requests_for(wish.target)
            approved = _approvable(held, wish.target, requests, caller)
            expected.check_stage(name, held.number, held.version.current_stage)
            await store.approve(tx, [request.request_id for request in approved], caller, now_ms=by.now_ms)
            await _move_or_wait(tx, held, wish, by)
            return await _told(tx, held.subject, Kind.TRANSITION_REQUEST_APPROVED)

    async def reject(self, name: str, version: str, *, stage: str, comment: str, caller: Caller) -> Activity:
        """Reject the requests for a move. Raises PermissionDenied."""
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await _hold(tx, name, version, by)
            model.check_comment(comment)
            target = held.target_of(stage)
            requests = held.requests_for(target)
            _check_may_decide(held, target, caller)
            await _close(
                tx, held, Kind.TRANSITION_REQUEST_REJECTED, requests, state=model.REJECTED, comment=comment, by=by
            )
            return await _told(tx, held.subject, Kind.TRANSITION_REQUEST_REJECTED)

    async def cancel(
        self, name: str, version: str, *, stage: str, creator: str, comment: str, caller: Caller
    ) -> Activity:
        """Take somebody's request back. Raises PermissionDenied."""
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await _hold(tx, name, version, by)
            model.check_comment(comment)
            target = held.target_of(stage)
            requests = [request for request in held.requests_for(target) if request.user_id == creator]
            if not requests:
                raise model.not_found(name, held.number, f"{target}, creator={creator[:300]}")
            if not model.may_cancel(creator, caller=caller, level=held.level):
                raise PermissionDenied(
                    f"The request of {creator} to move version {held.number} to {target} can be cancelled by "
                    f"{creator} and with the permission MANAGE on the model."
                )
            kind = Kind.TRANSITION_REQUEST_CANCELLED
            await _close(tx, held, kind, requests, state=model.CANCELLED, comment=comment, by=by)
            return await _told(tx, held.subject, kind)

    async def search(
        self, name: str, *, max_results: int, page_token: str, caller: Caller
    ) -> tuple[list[OpenTransitionRequest], str | None]:
        """Return a page of the open requests of all models that the caller may read, or of one of these, oldest first,
        and the token of the next page.
        """
        model.check_page_size(max_results)
        if name:
            rules.check_name(name)
        query = ["transition-requests", name]
        after = self.pages.decode(page_token, query)[0] if page_token else 0
        async with self.db.begin(snapshot=True) as tx:
            found = await store.search(
                tx, name=name or None, caller=caller, after=after, now_ms=self.now_ms(), limit=max_results + 1
            )
        page = found[:max_results]
        token = self.pages.encode((int(page[-1].id),), query) if len(found) > max_results else None
        return page, token

    async def list(self, name: str, version: str, *, caller: Caller) -> list[Activity]:
        """Return the open requests for a version, oldest first, with what the caller may do about each."""
        now_ms = self.now_ms()
        rules.check_name(name)
        number = rules.parse_version(version)
        async with self.db.pipeline(snapshot=True) as tx:
            held = await _read(tx, await models_store.find(tx, name), name, number, caller, now_ms)
        return _as_activities(held, caller)

    async def transition(
        self,
        name: str,
        version: str,
        *,
        stage: str,
        archive_existing_versions: bool,
        comment: str,
        expected: Expected,
        caller: Caller,
    ) -> ModelVersionDatabricks:
        """Move a version without asking, or as the approval of who asked. Raises PermissionDenied, Conflict."""
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await _hold(tx, name, version, by)
            wish = Wish.of(held.policy, stage, archive=archive_existing_versions, expected=expected, comment=comment)
            await transitions.make(tx, held.subject, held.number, wish, by=by)
            moved = await _read(tx, held.subject, name, held.number, caller, by.now_ms)
        return ModelVersionDatabricks.of(moved.version, open_requests=_as_activities(moved, caller), level=moved.level)


async def _hold(tx: Driver, name: str, version: str, by: By) -> _Held:
    """Keep others from changing a model, and tell which requests for a version have expired. Raises NotFound."""
    rules.check_name(name)
    number = rules.parse_version(version)
    subject = await models_store.hold(tx, name)
    held = await _read(tx, subject, name, number, by.caller, by.now_ms)
    for request in await store.expire(tx, held.subject, number, now_ms=by.now_ms):
        event = _event(Kind.TRANSITION_REQUEST_EXPIRED, held, [request], "")
        await record(tx, held.subject, event, by=By(caller=Caller(name=request.user_id), now_ms=by.now_ms))
    return held


async def _read(tx: Driver, subject: Subject | None, name: str, number: int, caller: Caller, now_ms: int) -> _Held:
    found = await versions_store.get_of(tx, subject, number) if subject else None
    if subject is None or found is None:
        raise version_not_found(name, number)
    return _Held(
        subject=subject,
        version=found,
        policy=await promotions_store.policy_of(tx, subject),
        requests=await store.open_of(tx, subject, number, now_ms=now_ms),
        level=await permissions.level_of(tx, subject, caller),
    )


async def _check_can_be_asked(tx: Driver, held: _Held, wish: Wish) -> None:
    name, is_there = held.subject.name, held.version.current_stage == wish.target
    if wish.alias is not None:
        if not held.policy.is_protected(wish.target):
            raise InvalidArgument(f"Alias {wish.alias} of model {name} is not protected: set it without a request.")
        is_there = await models_store.version_of_alias(tx, held.subject, wish.alias) == held.number
    if is_there:
        raise InvalidArgument(f"Model Version (name={name}, version={held.number}) is at {wish.target} already.")
    if len(held.requests) >= OPEN_MAX:
        raise InvalidArgument(f"{OPEN_MAX} requests for version {held.number} of model {name} are open, the most.")
    move = held.move_to(wish.target)
    if no_way := missing_way(held.policy, move):
        raise PermissionDenied(f"The promotion policy of model {name} refuses {move}: {no_way}.")


def _check_may_decide(held: _Held, target: str, caller: Caller) -> None:
    """Raises PermissionDenied unless a caller decides about moves to a target."""
    move = held.move_to(target)
    needed = held.policy.rules_of(move.before or "", target)
    lacks = []
    if held.level < level_needed(move):
        lacks.append(f"it needs the permission {level_needed(move).name} on the model")
    if not needed.may_approve(caller):
        lacks.append(f"it needs {needed.approvers}")
    if lacks:
        raise PermissionDenied(
            f"The promotion policy of model {held.subject.name} refuses deciding about {move}: {'; '.join(lacks)}."
        )


def _approvable(
    held: _Held, target: str, requests: Sequence[TransitionRequest], caller: Caller
) -> list[TransitionRequest]:
    """Return the requests that a caller may approve. Raises PermissionDenied if that is none."""
    _check_may_decide(held, target, caller)
    move = held.move_to(target)
    needed = held.policy.rules_of(move.before or "", target)
    approvable = [request for request in requests if needed.counts(caller, requester=request.user_id)]
    if not approvable:
        raise PermissionDenied(
            f"The promotion policy of model {held.subject.name} refuses approving {move}: who asks for a move does not "
            "approve it."
        )
    return approvable


async def _move_or_wait(tx: Driver, held: _Held, wish: Wish, by: By) -> None:
    """Make a move that an approval was given for, or tell what it still lacks."""
    evidence = await promotions_store.evidence(tx, held.subject, [held.number], now_ms=by.now_ms)
    move = held.move_to(wish.target)
    decision = decide(evidence, move, by.caller, by.now_ms)
    if not decision.missing:
        await transitions.make(tx, held.subject, held.number, wish, by=by)
        return
    requests = [request for request in evidence.requests if request.target == wish.target]
    event = transitions.approval_event(
        move,
        requests,
        stage=held.version.current_stage,
        comment=wish.comment,
        approvals=decision.approvals or None,
        pending="; ".join(decision.missing),
    )
    await record(tx, held.subject, event, by=by)


async def _close(
    tx: Driver, held: _Held, kind: Kind, requests: Sequence[TransitionRequest], *, state: str, comment: str, by: By
) -> None:
    await record(tx, held.subject, _event(kind, held, requests, comment), by=by)
    await store.close(tx, [request.request_id for request in requests], state=state, now_ms=by.now_ms)


def _event(kind: Kind, held: _Held, requests: Sequence[TransitionRequest], comment: str) -> Event:
    """Return the event of what happens to requests for one target."""
    fields = {
        "from_stage": held.version.current_stage,
        "to_stage": requests[0].to_stage,
        "comment": comment or None,
        "requesters": [request.user_id for request in requests],
    }
    return Event(kind=kind, version=held.number, changes=changes({}, fields))


async def _told(tx: Driver, subject: Subject, kind: Kind) -> Activity:
    activity = activity_of(await events_store.newest(tx, subject, kind))
    assert activity is not None, "events of requests are activities"
    return activity


def _as_activities(held: _Held, caller: Caller) -> list[Activity]:
    return [model.as_activity(held.with_actions(request, caller)) for request in held.requests]
