"""What can happen to a registered model, and how it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from services.common.auth import Caller
from services.common.errors import InvalidArgument

PAGE_SIZE_MAX = 1000


class Kind(Enum):
    """What happened."""

    MODEL_CREATED = "REGISTERED_MODEL_CREATED"
    MODEL_UPDATED = "REGISTERED_MODEL_UPDATED"
    MODEL_RENAMED = "REGISTERED_MODEL_RENAMED"
    MODEL_DELETED = "REGISTERED_MODEL_DELETED"
    MODEL_TAG_SET = "REGISTERED_MODEL_TAG_SET"
    MODEL_TAG_DELETED = "REGISTERED_MODEL_TAG_DELETED"
    ALIAS_SET = "REGISTERED_MODEL_ALIAS_SET"
    ALIAS_DELETED = "REGISTERED_MODEL_ALIAS_DELETED"
    VERSION_CREATED = "MODEL_VERSION_CREATED"
    VERSION_UPDATED = "MODEL_VERSION_UPDATED"
    VERSION_TRANSITIONED = "MODEL_VERSION_TRANSITIONED_STAGE"
    VERSION_DELETED = "MODEL_VERSION_DELETED"
    VERSION_TAG_SET = "MODEL_VERSION_TAG_SET"
    VERSION_TAG_DELETED = "MODEL_VERSION_TAG_DELETED"
    TRANSITION_REQUEST_CREATED = "TRANSITION_REQUEST_CREATED"
    TRANSITION_REQUEST_APPROVED = "TRANSITION_REQUEST_APPROVED"
    TRANSITION_REQUEST_REJECTED = "TRANSITION_REQUEST_REJECTED"
    TRANSITION_REQUEST_CANCELLED = "TRANSITION_REQUEST_CANCELLED"
    TRANSITION_REQUEST_EXPIRED = "TRANSITION_REQUEST_EXPIRED"
    POLICY_SET = "PROMOTION_POLICY_SET"
    CHECK_SET = "MODEL_VERSION_CHECK_SET"
    COMMENT_CREATED = "COMMENT_CREATED"
    COMMENT_UPDATED = "COMMENT_UPDATED"
    COMMENT_DELETED = "COMMENT_DELETED"
    PERMISSIONS_SET = "REGISTERED_MODEL_PERMISSIONS_SET"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One change. `changes` maps a field to {"from": …, "to": …}; what is absent there was, or is, not set.

    Fields are those of the resource; a tag is `tags.<key>` and an alias `aliases.<alias>`. A change of a stage or an
    alias may also tell `comment`, `approved` (it carries out a request that is told as approved beside it) and
    `replaced_by` (the version that came in its place). The event of a request tells `from_stage`, `to_stage`,
    which is `@<alias>` for an alias, `comment`, `requesters`, how many `approvals` there are and what is `pending`.
    """

    kind: Kind
    version: int | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A registered model that is being changed: nobody else changes it until the transaction ends."""

    registered_model_id: int
    name: str


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Position:
    """Where an event stands in the order in which events are read."""

    transaction_id: int
    event_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """An event as it is kept: `model` has the name after the change, `revision` counts the model's changes.

    The time is in milliseconds since the Unix epoch.
    """

    position: Position
    model: Subject
    revision: int
    event: Event
    actor: str
    creation_timestamp: int


@dataclass(frozen=True, kw_only=True, slots=True)
class By:
    """Who changes something, and when, in milliseconds since the Unix epoch."""

    caller: Caller
    now_ms: int

    @property
    def actor(self) -> str:
        return self.caller.name


def change(before: Any, after: Any) -> dict[str, Any]:
    """Return how a field changed; None is a field that is not set."""
    return {name: value for name, value in (("from", before), ("to", after)) if value is not None}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how fields changed, without those that did not."""
    fields = dict.fromkeys([*before, *after])
    pairs = {name: (before.get(name), after.get(name)) for name in fields}
    return {name: change(old, new) for name, (old, new) in pairs.items() if old != new}


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 1,000."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        raise InvalidArgument(f"'max_results' must be 1 to {PAGE_SIZE_MAX}, but is {max_results}.")
