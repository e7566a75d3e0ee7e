"""What a registered model was at some time, made out of what happened to it until then. No I/O."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.common.auth import ANONYMOUS
from services.common.errors import InvalidArgument
from services.registry import rules
from services.registry.events.model import Kind, Told
from services.registry.model_versions.model import READY, ModelVersion
from services.registry.registered_models.model import RegisteredModel, RegisteredModelAlias

_TAG, _ALIAS = "tags.", "aliases."
_OF_MODEL = frozenset({Kind.MODEL_CREATED, Kind.MODEL_UPDATED, Kind.MODEL_RENAMED})
_OF_MODEL_TAGS = frozenset({Kind.MODEL_TAG_SET, Kind.MODEL_TAG_DELETED})
_OF_ALIASES = frozenset({Kind.ALIAS_SET, Kind.ALIAS_DELETED})
_OF_VERSION = frozenset({Kind.VERSION_CREATED, Kind.VERSION_UPDATED, Kind.VERSION_TRANSITIONED})
_OF_VERSION_TAGS = frozenset({Kind.VERSION_TAG_SET, Kind.VERSION_TAG_DELETED})
_MODEL_FIELDS = frozenset({"name", "description"})
_VERSION_FIELDS = frozenset({"current_stage", "description", "source", "run_id", "run_link"})


PAGE_SIZE_MAX = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionState:
    """A version at some time. Times are milliseconds since the Unix epoch."""

    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None
    current_stage: str = rules.NO_STAGE
    description: str | None = None
    source: str | None = None
    run_id: str | None = None
    run_link: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """A registered model at a revision, with all its versions by number; `exists` is false before and after its life.

    Times are milliseconds since the Unix epoch, as events tell them: what changed nothing is not told.
    """

    exists: bool = False
    name: str = ""
    revision: int = 0
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, VersionState] = field(default_factory=dict)

    def registered_model(self) -> RegisteredModel:
        """Return the model without its versions but for the newest in each stage, as a search shows it."""
        first, newest = dict[str, int](), dict[str, int]()
        for number, version in sorted(self.versions.items()):
            first.setdefault(version.current_stage, number)
            newest[version.current_stage] = number
        stages = sorted(first, key=lambda stage: first[stage])
        return RegisteredModel(
            name=self.name,
            creation_timestamp=self.creation_timestamp,
            last_updated_timestamp=self.last_updated_timestamp,
            description=self.description,
            latest_versions=[self._version(newest[stage], with_aliases=False) for stage in stages],
            tags=self.tags,
            aliases=[
                RegisteredModelAlias(alias=alias, version=str(number)) for alias, number in sorted(self.aliases.items())
            ],
        )

    def model_versions(self, *, after: int = 0, limit: int | None = None) -> list[ModelVersion]:
        """Return the versions of the next numbers after one, by number."""
        numbers = sorted(number for number in self.versions if number > after)
        return [self._version(number, with_aliases=True) for number in numbers[:limit]]

    def _version(self, number: int, *, with_aliases: bool) -> ModelVersion:
        version = self.versions[number]
        pointing = sorted(alias for alias, target in self.aliases.items() if target == number)
        return ModelVersion(
            name=self.name,
            version=str(number),
            creation_timestamp=version.creation_timestamp,
            last_updated_timestamp=version.last_updated_timestamp,
            user_id=version.user_id,
            current_stage=version.current_stage,
            description=version.description,
            source=version.source or "",
            run_id=version.run_id or "",
            status=READY,
            status_message=None,
            run_link=version.run_link or "",
            tags=version.tags,
            aliases=pointing if with_aliases else (),
        )


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 1,000."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be from 1 to {PAGE_SIZE_MAX}"
        )


def fold(state: State, events: Iterable[Told]) -> State:
    """Return what a model is after these events, which follow those that made it what it was."""
    after = _Fold(state)
    for told in events:
        after.take(told)
    return after.state()


class _Fold:
    """What `fold` has so far: the versions are copied once, not with every event."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._versions = dict(state.versions)

    def state(self) -> State:
        return dataclasses.replace(self._state, versions=self._versions)

    def take(self, told: Told) -> None:
        kind, changes = told.event.kind, told.event.changes
        if kind is Kind.MODEL_DELETED:
            self._state, self._versions = State(name=told.model.name), {}
        elif kind in _OF_MODEL:
            self._take_model(told)
        elif kind in _OF_MODEL_TAGS:
            self._change(tags=_merged(self._state.tags, _below(_TAG, changes)))
        elif kind in _OF_ALIASES:
            self._change(aliases=_merged(self._state.aliases, _below(_ALIAS, changes)))
        elif kind is Kind.VERSION_DELETED:
            del self._versions[_version_of(told)]
            self._change(last_updated_timestamp=told.creation_timestamp)
        elif kind in _OF_VERSION:
            self._take_version(told)
        elif kind in _OF_VERSION_TAGS:
            version = self._versions[_version_of(told)]
            tags = _merged(version.tags, _below(_TAG, changes))
            self._versions[_version_of(told)] = dataclasses.replace(version, tags=tags)
        self._change(revision=told.revision)

    def _take_model(self, told: Told) -> None:
        now_ms, changes = told.creation_timestamp, told.event.changes
        if told.event.kind is Kind.MODEL_CREATED:
            self._change(exists=True, creation_timestamp=now_ms)
        elif told.event.kind is Kind.MODEL_RENAMED:
            for number, version in self._versions.items():
                self._versions[number] = dataclasses.replace(version, last_updated_timestamp=now_ms)
        tags = _merged(self._state.tags, _below(_TAG, changes))
        self._change(last_updated_timestamp=now_ms, tags=tags, **_fields(changes, _MODEL_FIELDS))

    def _take_version(self, told: Told) -> None:
        now_ms, changes, number = told.creation_timestamp, told.event.changes, _version_of(told)
        if told.event.kind is Kind.VERSION_CREATED:
            user_id = told.actor if told.actor != ANONYMOUS.name else None
            self._versions[number] = VersionState(
                creation_timestamp=now_ms, last_updated_timestamp=now_ms, user_id=user_id
            )
        before = self._versions[number]
        tags = _merged(before.tags, _below(_TAG, changes))
        self._versions[number] = dataclasses.replace(
            before, last_updated_timestamp=now_ms, tags=tags, **_fields(changes, _VERSION_FIELDS)
        )
        if told.event.kind is not Kind.VERSION_UPDATED:
            self._change(last_updated_timestamp=now_ms)

    def _change(self, **values: Any) -> None:
        self._state = dataclasses.replace(self._state, **values)


def _version_of(told: Told) -> int:
    assert told.event.version is not None, "an event about a version names it"
    return told.event.version


def _fields(changes: Mapping[str, Mapping[str, Any]], names: frozenset[str]) -> dict[str, Any]:
    """Return what the fields of these names are now; None is not set."""
    return {name: sides.get("to") or None for name, sides in changes.items() if name in names}


def _below(prefix: str, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name.removeprefix(prefix): sides.get("to") for name, sides in changes.items() if name.startswith(prefix)}


def _merged(before: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return entries with those that changed; None takes one away."""
    return {key: value for key, value in {**before, **changed}.items() if value is not None}


def is_gone(last: Told, following: Sequence[Told], name: str, *, revision: int | None, timestamp: int | None) -> bool:
    """Whether a model did not have a name any more at a revision or time, given the last event that it was told of
    under the name until then, and the one that followed if there is one.
    """
    if last.event.kind is Kind.MODEL_DELETED:
        return True
    left = [told for told in following if told.model.name != name]
    if not left:
        return False
    if revision is not None:
        return revision > last.revision
    return timestamp is not None and left[0].creation_timestamp <= timestamp
