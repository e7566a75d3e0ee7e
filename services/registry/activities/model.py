"""What people read of a version's history: its events as Databricks' registry tells activities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from services.registry.events.model import Kind, Told

_ALIAS = "aliases."


class ActivityType(Enum):
    """What somebody, or for SYSTEM_TRANSITION the system in the wake of it, did."""

    APPLIED_TRANSITION = "APPLIED_TRANSITION"
    REQUESTED_TRANSITION = "REQUESTED_TRANSITION"
    CANCELLED_REQUEST = "CANCELLED_REQUEST"
    APPROVED_REQUEST = "APPROVED_REQUEST"
    REJECTED_REQUEST = "REJECTED_REQUEST"
    SYSTEM_TRANSITION = "SYSTEM_TRANSITION"
    NEW_COMMENT = "NEW_COMMENT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """Times are milliseconds since the Unix epoch. A stage `@<alias>` is a protected alias.

    `available_actions` is what the caller may do about an open request, and empty otherwise.
    """

    id: str
    activity_type: str
    user_id: str
    creation_timestamp: int
    last_updated_timestamp: int
    version: str
    comment: str | None = None
    from_stage: str | None = None
    to_stage: str | None = None
    system_comment: str | None = None
    available_actions: Sequence[str] = ()


_MOVES = ("VERSION_TRANSITIONED", "ALIAS_SET", "ALIAS_DELETED")
# By name of the kind, of events that tell of a request or a comment.
_TYPES: Mapping[str, ActivityType] = MappingProxyType(
    {
        "TRANSITION_REQUEST_CREATED": ActivityType.REQUESTED_TRANSITION,
        "TRANSITION_REQUEST_APPROVED": ActivityType.APPROVED_REQUEST,
        "TRANSITION_REQUEST_REJECTED": ActivityType.REJECTED_REQUEST,
        "TRANSITION_REQUEST_CANCELLED": ActivityType.CANCELLED_REQUEST,
        "TRANSITION_REQUEST_EXPIRED": ActivityType.CANCELLED_REQUEST,
        "COMMENT_CREATED": ActivityType.NEW_COMMENT,
    }
)

# The kinds of those events that may be activities.
KINDS = tuple(kind for kind in Kind if kind.name in _MOVES or kind.name in _TYPES)


def activity_of(told: Told) -> Activity | None:
    """Return the activity that an event is; None for one that is none, or that another event tells of already."""
    event = told.event
    if event.version is None or "approved" in event.changes:
        # An approval and the move that it completes are one activity.
        return None
    activity_type = _type_of(event.kind.name, event.changes)
    if activity_type is None:
        return None
    from_stage, to_stage = _stages_of(event.changes)
    return Activity(
        id=str(told.position.event_id),
        activity_type=activity_type.value,
        user_id=told.actor,
        creation_timestamp=told.creation_timestamp,
        last_updated_timestamp=told.creation_timestamp,
        version=str(event.version),
        comment=_to(event.changes, "comment"),
        from_stage=from_stage,
        to_stage=to_stage,
        system_comment=_system_comment(event.kind.name, event.changes),
    )


def _type_of(kind: str, changes: Mapping[str, Mapping[str, Any]]) -> ActivityType | None:
    if kind in _MOVES:
        return ActivityType.SYSTEM_TRANSITION if "replaced_by" in changes else ActivityType.APPLIED_TRANSITION
    return _TYPES.get(kind)


def _stages_of(changes: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, str | None]:
    if "current_stage" in changes:
        stage = changes["current_stage"]
        return stage.get("from"), stage.get("to")
    for field, change in changes.items():
        if field.startswith(_ALIAS):
            alias = f"@{field.removeprefix(_ALIAS)}"
            return (None, alias) if "to" in change else (alias, None)
    return _to(changes, "from_stage"), _to(changes, "to_stage")


def _system_comment(kind: str, changes: Mapping[str, Mapping[str, Any]]) -> str | None:
    if "replaced_by" in changes:
        return f"Archived because version {_to(changes, 'replaced_by')} came in its place."
    if kind == "TRANSITION_REQUEST_EXPIRED":
        return "The request expired."
    if "pending" in changes:
        return f"Not moved yet: {_to(changes, 'pending')}."
    return None


def _to(changes: Mapping[str, Mapping[str, Any]], field: str) -> Any:
    return changes.get(field, {}).get("to")
