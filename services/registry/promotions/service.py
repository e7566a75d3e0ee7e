"""Decides whether a registered model may be changed as somebody wants it: the place of the promotion policy."""

import dataclasses
from collections.abc import Iterator, Sequence

from services.common.database import Driver
from services.common.errors import PermissionDenied
from services.registry import rules
from services.registry.events.model import By, Event, Kind, Subject
from services.registry.permissions import service as permissions
from services.registry.permissions.model import Level
from services.registry.promotions import model as promotions
from services.registry.promotions import store
from services.registry.promotions.model import Decision, Evidence, Move, Policy

_ALIAS = "aliases."
# Nothing is granted on it, so that a caller may do with it what he may do with every model.
NO_MODEL = Subject(registered_model_id=0, name="")
_JUDGED = frozenset(
    {
        Kind.VERSION_TRANSITIONED, Kind.VERSION_DELETED, Kind.ALIAS_SET, Kind.ALIAS_DELETED,
        Kind.MODEL_RENAMED, Kind.MODEL_DELETED, Kind.POLICY_SET, Kind.CHECK_SET,
    }
)  # fmt: skip


async def check(tx: Driver, model: Subject, events: Sequence[Event], by: By) -> None:
    """Return if all of it may happen. Raises PermissionDenied, which names everything that is missing.

    Whatever moves a version to a stage or an alias to a version asks here, in the transaction of the change and
    before it (services/registry/events/service.py). A model without a policy asks only for permissions.
    """
    for event in events:
        # No policy could see a version that begins elsewhere.
        assert event.kind is not Kind.VERSION_CREATED or event.changes["current_stage"] == {"to": rules.NO_STAGE}
    judged = [event for event in events if event.kind in _JUDGED]
    if not judged:
        return
    versions = {event.version for event in judged if event.version is not None}
    evidence = await store.evidence(tx, model, sorted(versions), now_ms=by.now_ms)
    level = await permissions.level_of(tx, model, by.caller)
    missing = [sentence for event in judged for sentence in _missing(event, judged, evidence, level, by)]
    if missing:
        raise PermissionDenied(f"The promotion policy of model {model.name} refuses {'. It refuses '.join(missing)}.")


async def check_default(tx: Driver, by: By) -> None:
    """Return if the caller may replace the default policy. Raises PermissionDenied.

    Where it names no owners, whoever manages every model may.
    """
    policy = await store.policy_of(tx, None)
    level = await permissions.level_of(tx, NO_MODEL, by.caller)
    if not policy.may_be_changed_by(by.caller, level):
        raise PermissionDenied(f"The default promotion policy refuses changing it: {_owners_needed(policy)}.")


def move_of(event: Event) -> Move | None:
    """Return the move that an event tells of."""
    if event.kind is Kind.VERSION_TRANSITIONED:
        assert event.version is not None
        stage = event.changes["current_stage"]
        return Move(version=event.version, before=stage["from"], target=stage["to"])
    if event.kind is Kind.ALIAS_SET:
        assert event.version is not None
        return Move(version=event.version, before=None, target=_alias_of(event))
    return None


def judge(move: Move, evidence: Evidence, level: Level, by: By) -> Decision:
    """Return what a move by itself lacks, the permission for it included."""
    decision = promotions.decide(evidence, move, by.caller, by.now_ms)
    return dataclasses.replace(decision, missing=(*_lacked_level(evidence.policy, move, level), *decision.missing))


def _missing(event: Event, told: Sequence[Event], evidence: Evidence, level: Level, by: By) -> Iterator[str]:
    """Yield what forbids an event that is told together with others, as sentences without their ends."""
    policy = evidence.policy
    move = move_of(event)
    if move is not None:
        lacks = [*_lacked_level(policy, move, level), *_lacked_rules(move, told, evidence, by)]
        if lacks:
            yield f"{move}: {'; '.join(lacks)}"
    elif (refused := _needs_an_owner(event, told, policy)) and not policy.may_be_changed_by(by.caller, level):
        yield f"{refused}: {_owners_needed(policy)}"
    elif event.kind is Kind.CHECK_SET:
        (name,) = (field.removeprefix("checks.") for field in event.changes)
        posters = policy.posters_of(name)
        if posters and not any(people.include(by.caller) for people in posters):
            yield f"posting check {name}: it needs {' or '.join(map(str, posters))}"


def _lacked_level(policy: Policy, move: Move, level: Level) -> Iterator[str]:
    if move.before is None and not policy.is_protected(move.target):
        return
    needed = promotions.level_needed(move)
    if level < needed:
        yield f"it needs the permission {needed.name} on the model"


def _lacked_rules(move: Move, told: Sequence[Event], evidence: Evidence, by: By) -> tuple[str, ...]:
    if _is_replaced(move, told, evidence.policy):
        no_way = promotions.missing_way(evidence.policy, move)
        return (no_way,) if no_way else ()
    return promotions.decide(evidence, move, by.caller, by.now_ms).missing


def _is_replaced(move: Move, told: Sequence[Event], policy: Policy) -> bool:
    """Whether a version is archived because another one takes its place, in a move that is judged by itself."""
    others = [other for event in told if (other := move_of(event)) and other.version != move.version]
    return move.target == policy.archive and any(other.target == move.before for other in others)


def _needs_an_owner(event: Event, told: Sequence[Event], policy: Policy) -> str | None:
    """Return what only who may change the policy does, if the event is such."""
    if event.kind is Kind.POLICY_SET:
        return "changing it"
    if event.kind is Kind.VERSION_DELETED:
        stage = event.changes["current_stage"]["from"]
        return f"deleting version {event.version} from stage {stage}" if policy.is_protected(stage) else None
    if event.kind is Kind.ALIAS_DELETED:
        alias = _alias_of(event)
        return f"removing alias {alias[1:]} of version {event.version}" if policy.is_protected(alias) else None
    if event.kind in (Kind.MODEL_RENAMED, Kind.MODEL_DELETED) and policy is not promotions.NO_POLICY:
        return "renaming the model" if event.kind is Kind.MODEL_RENAMED else "deleting the model"
    return None


def _owners_needed(policy: Policy) -> str:
    return f"it needs {policy.owners}" if policy.owners else f"it needs the permission {Level.MANAGE.name} on the model"


def _alias_of(event: Event) -> str:
    (alias,) = (field.removeprefix(_ALIAS) for field in event.changes if field.startswith(_ALIAS))
    return f"@{alias}"
