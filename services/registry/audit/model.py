"""What an auditor reads of an event, and asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.common.errors import InvalidArgument
from services.common.keys import check_length
from services.registry.events.model import Kind, Told

_ACTOR_LENGTH_MAX = 256
_KINDS = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """How a field changed; None is one that was, or is, not set. Numbers and lists are JSON."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An event as an auditor reads it; `name` is the model's after it. The time is in milliseconds since the Unix
    epoch.
    """

    id: str
    name: str
    revision: int
    version: str | None
    kind: str
    actor: str
    creation_timestamp: int
    changes: Sequence[Change]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """Which events are asked for; what is empty is any. Times are milliseconds since the Unix epoch, both included."""

    name: str
    actor: str
    kind: str
    from_timestamp: int | None
    to_timestamp: int | None

    def check(self) -> None:
        """Raises InvalidArgument for a kind that is not known and for long names of actors."""
        check_length("actor", _ACTOR_LENGTH_MAX, self.actor)
        if self.kind and self.kind not in _KINDS:
            known = ", ".join(sorted(_KINDS))
            raise InvalidArgument(f"Invalid value '{self.kind[:100]}' for parameter 'kind'. Known are: {known}.")


def entry_of(told: Told) -> Entry:
    """Return an event as an auditor reads it."""
    version = told.event.version
    return Entry(
        id=str(told.position.event_id),
        name=told.model.name,
        revision=told.revision,
        version=None if version is None else str(version),
        kind=told.event.kind.value,
        actor=told.actor,
        creation_timestamp=told.creation_timestamp,
        changes=[
            Change(field=field, before=_text(sides.get("from")), after=_text(sides.get("to")))
            for field, sides in sorted(told.event.changes.items())
        ],
    )


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
