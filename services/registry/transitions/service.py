"""How a version gets to a stage or an alias to a version, whichever use-case wants it: part of its transaction."""

from collections.abc import Sequence

from services.common.database import Driver
from services.registry.events.model import By, Event, Kind, Subject, change, changes
from services.registry.events.service import record
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import ModelVersion, not_found
from services.registry.promotions import store as promotions_store
from services.registry.promotions.model import Evidence, Move, Request, decide
from services.registry.registered_models import store as models_store
from services.registry.transition_requests import store as requests_store
from services.registry.transitions.model import Wish


async def make(tx: Driver, held: Subject, number: int, wish: Wish, *, by: By) -> None:
    """Do what somebody wishes for a version of a model that is held, and close the requests for it.

    Who may approve one of these requests does so by it. Raises NotFound, Conflict, PermissionDenied.
    """
    version = await versions_store.get_of(tx, held, number)
    if version is None:
        raise not_found(held.name, number)
    wish.expected.check_stage(held.name, number, version.current_stage)
    evidence = await promotions_store.evidence(tx, held, [number], now_ms=by.now_ms)
    if wish.alias is not None:
        await _point_alias(tx, held, version, wish, evidence, by)
    else:
        await _move_to_stage(tx, held, version, wish, evidence, by)
    await requests_store.close_for(tx, held, [number], target=wish.target, now_ms=by.now_ms)


def approval_event(move: Move, requests: Sequence[Request], *, stage: str, comment: str, **more: object) -> Event:
    """Return the event of an approval by somebody of requests for one move, of a version in `stage`."""
    fields = {
        "from_stage": stage,
        "to_stage": move.target,
        "comment": comment or None,
        "requesters": [request.requester for request in requests],
        **more,
    }
    return Event(kind=Kind.TRANSITION_REQUEST_APPROVED, version=move.version, changes=changes({}, fields))


async def _point_alias(
    tx: Driver, held: Subject, version: ModelVersion, wish: Wish, evidence: Evidence, by: By
) -> None:
    assert wish.alias is not None
    number = int(version.version)
    before = await models_store.version_of_alias(tx, held, wish.alias)
    wish.expected.check_version(held.name, wish.target, before)
    if before == number:
        return
    move = Move(version=number, before=None, target=wish.target)
    told = {f"aliases.{wish.alias}": change(before, number)}
    await record(tx, held, *_told(Kind.ALIAS_SET, move, told, version, wish, evidence, by), by=by)
    await models_store.set_alias(tx, held, wish.alias, version=number)


async def _move_to_stage(
    tx: Driver, held: Subject, version: ModelVersion, wish: Wish, evidence: Evidence, by: By
) -> None:
    number, before, archive = int(version.version), version.current_stage, evidence.policy.archive
    if wish.archive:
        evidence.policy.check_archiving(wish.target, wish.target)
    there: list[int] = []
    if wish.archive or wish.expected.version is not None:
        there = await versions_store.in_stage(tx, held, wish.target, except_version=0)
    wish.expected.check_version(held.name, wish.target, there[-1] if there else None)
    others = [other for other in there if other != number] if wish.archive else []
    events = [_archived(other, wish.target, archive, by=number) for other in others]
    if before != wish.target:
        move = Move(version=number, before=before, target=wish.target)
        told = {"current_stage": change(before, wish.target)}
        events += _told(Kind.VERSION_TRANSITIONED, move, told, version, wish, evidence, by)
    await record(tx, held, *events, by=by)
    if others:
        assert archive is not None, "a wish to archive needs a stage for it"
        await versions_store.move(tx, held, others, stage=archive, now_ms=by.now_ms)
        await requests_store.close_for(tx, held, others, target=archive, now_ms=by.now_ms)
    await versions_store.move(tx, held, [number], stage=wish.target, now_ms=by.now_ms)
    await models_store.touch(tx, held, now_ms=by.now_ms)


def _told(
    kind: Kind, move: Move, told: dict[str, dict[str, object]], version: ModelVersion, wish: Wish, evidence: Evidence,
    by: By,
) -> list[Event]:  # fmt: skip
    """Return the events of a move: itself, and before it the approval that it is of requests by others."""
    needed = evidence.policy.rules_of(move.before or "", move.target)
    requests = [request for request in evidence.requests if request.target == move.target]
    if not any(needed.counts(by.caller, requester=request.requester) for request in requests):
        comment = {"comment": change(None, wish.comment)} if wish.comment else {}
        return [Event(kind=kind, version=move.version, changes=told | comment)]
    approvals = decide(evidence, move, by.caller, by.now_ms).approvals
    approval = approval_event(
        move, requests, stage=version.current_stage, comment=wish.comment, approvals=approvals or None
    )
    return [approval, Event(kind=kind, version=move.version, changes=told | {"approved": change(None, True)})]


def _archived(version: int, before: str, archive: str | None, *, by: int) -> Event:
    told = {"current_stage": change(before, archive), "replaced_by": change(None, by)}
    return Event(kind=Kind.VERSION_TRANSITIONED, version=version, changes=told)
