"""What a resolver answers, what it knows of a model, and how a reference is read. No I/O, no threads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from modelstead.registry.v1 import lookups_pb2 as pb
from modelstead.resolver.errors import AliasNotFound, InvalidReference, NotFound, StageNotFound, VersionNotFound

LATEST = "latest"
PINNED_MAX = 100
_URI_SCHEME = "models:/"
_REFERENCES_KEPT = 4096


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """The version that a reference stood for when it was asked. Texts are empty where the registry has none.

    `revision` counts the model's changes. `age_s` is for how many seconds the registry had not confirmed the answer;
    while it is connected, at most some 15, its heartbeat.
    """

    name: str
    version: str
    stage: str
    source: str
    download_uri: str
    run_id: str
    tags: Mapping[str, str] = field(hash=False)
    aliases: tuple[str, ...]
    revision: int
    age_s: float = field(default=0.0, compare=False)

    def aged(self, age_s: float) -> "ResolvedModel":
        """Return the same with another age; `dataclasses.replace` would take ten times as long."""
        other = object.__new__(ResolvedModel)
        other.__dict__.update(self.__dict__)
        other.__dict__["age_s"] = age_s
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "tags": dict(self.tags)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, tags=MappingProxyType(state["tags"]))


@dataclass(frozen=True, kw_only=True)
class Change:
    """A model has changed. `moved` maps each reference that stands for another version now, as `fraud@champion` or
    `fraud/Production`, to the versions before and after; None where there was none, or is none any more.
    """

    name: str
    revision: int
    exists: bool
    moved: Mapping[str, tuple[str | None, str | None]]

    def then(self, later: "Change") -> "Change":
        """Return this change and a later one of the same model as one."""
        moved = dict(self.moved)
        for reference, (before, after) in later.moved.items():
            moved[reference] = (moved.get(reference, (before,))[0], after)
        kept = {reference: versions for reference, versions in moved.items() if versions[0] != versions[1]}
        return Change(name=self.name, revision=later.revision, exists=later.exists, moved=MappingProxyType(kept))


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """What is known of a watched model; `revision` and `age_s` are None before anything is.

    `behind_revision` is what a registry said that is older than what is known, and so is not believed.
    """

    revision: int | None = None
    exists: bool | None = None
    age_s: float | None = None
    behind_revision: int | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Status:
    """Whether the registry is connected and since when, in seconds since the Unix epoch (None: never tried)."""

    connected: bool
    since: float | None
    error: str | None
    cache_error: str | None
    models: Mapping[str, ModelStatus]


class Query(NamedTuple):
    """What is asked for: `key` is `("alias" | "stage" | "version", value)`, a stage in lower case."""

    name: str
    key: tuple[str, str]


class Freshness:
    """When the registry last confirmed something, by the monotonic clock."""

    __slots__ = ("confirmed_at",)

    def __init__(self, confirmed_at: float) -> None:
        self.confirmed_at = confirmed_at


class Answer(NamedTuple):
    """A version, and what tells its age."""

    resolved: ResolvedModel
    freshness: Freshness


class Pinned(NamedTuple):
    """A version that was asked for by its number; None if there is none. It is of the model's `revision`."""

    resolved: ResolvedModel | None
    revision: int
    freshness: Freshness


@dataclass(frozen=True, kw_only=True)
class Model:
    """All that is known of a model at one revision. `answers` has what every alias, stage and version stands for."""

    name: str
    revision: int
    exists: bool
    latest_version: str
    versions: tuple[ResolvedModel, ...]
    pinned: Mapping[str, Pinned]
    freshness: Freshness
    answers: Mapping[tuple[str, str], Answer] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", dict(_answers(self)))

    def outdated(self) -> list[str]:
        """Return the pinned versions that the model has moved on from."""
        told = {version.version for version in self.versions}
        return [version for version, pin in self.pinned.items() if version not in told and pin.revision < self.revision]

    def pinned_until_now(self) -> dict[str, Pinned]:
        """Return the pinned versions, those that moved with the model as fresh as it was."""
        return {
            version: pin._replace(freshness=Freshness(self.freshness.confirmed_at))
            if pin.revision >= self.revision
            else pin
            for version, pin in self.pinned.items()
        }

    def with_pin(self, version: str, pin: Pinned) -> "Model":
        """Return the model with one more pinned version; of more than 100 the oldest go."""
        pinned = {key: value for key, value in self.pinned.items() if key != version} | {version: pin}
        kept = dict(list(pinned.items())[-PINNED_MAX:])
        return Model(
            name=self.name, revision=self.revision, exists=self.exists, latest_version=self.latest_version,
            versions=self.versions, pinned=kept, freshness=self.freshness,
        )  # fmt: skip

    def change_to(self, after: "Model") -> Change:
        """Return what has changed between two revisions."""
        old, new = _targets(self), _targets(after)
        names = dict.fromkeys([*old, *new])
        moved = {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}
        return Change(name=self.name, revision=after.revision, exists=after.exists, moved=MappingProxyType(moved))


@lru_cache(maxsize=_REFERENCES_KEPT)
def parse(reference: str) -> Query:
    """Read `name@alias`, `name/stage` or `name/version`, also after MLflow's `models:/`. Raises InvalidReference."""
    text = reference.removeprefix(_URI_SCHEME)
    split = max(text.rfind("@"), text.rfind("/"))
    name, mark, value = text[:split], text[split : split + 1], text[split + 1 :]
    if split < 1 or not value or "/" in name:
        raise InvalidReference(f"{reference!r} is not of the form name@alias, name/stage or name/version.")
    if mark == "@":
        return Query(name, ("alias", _alias(value)))
    if value.isascii() and value.isdigit():
        return Query(name, ("version", str(int(value))))
    return Query(name, ("alias", LATEST) if value.lower() == LATEST else ("stage", value.lower()))


def query(name: str | None, *, alias: str | None, stage: str | None, version: str | int | None) -> Query:
    """Take a question apart that is asked by keywords. Raises InvalidReference."""
    number = None if version is None else str(version)
    if number and not (number.isascii() and number.isdigit()):
        raise InvalidReference(f"version={version!r} of model {name!r} is not a number.")
    given = {"alias": alias and _alias(alias), "stage": stage and stage.lower(), "version": number and str(int(number))}
    keys = [(kind, value) for kind, value in given.items() if value]
    if not name or len(keys) != 1:
        raise InvalidReference(f"name={name!r} needs exactly one of alias={alias!r}, stage={stage!r}, {version=!r}.")
    return Query(name, keys[0])


def _alias(alias: str) -> str:
    return LATEST if alias.lower() == LATEST else alias


def missing(asked: Query) -> NotFound:
    """Return the error for a model that exists and has not what is asked for."""
    kind, value = asked.key
    if kind == "alias":
        return AliasNotFound(f"Registered model {asked.name!r} has no alias {value!r}.")
    if kind == "stage":
        return StageNotFound(f"Registered model {asked.name!r} has no version in stage {value!r}.")
    return VersionNotFound(f"Registered model {asked.name!r} has no version {value!r}.")


def decode_version(version: pb.ResolvedVersion, *, revision: int) -> ResolvedModel:
    """Return a version as it came from the registry."""
    return ResolvedModel(
        name=version.name,
        version=version.version,
        stage=version.current_stage,
        source=version.source,
        download_uri=version.download_uri,
        run_id=version.run_id,
        tags=MappingProxyType(dict(version.tags)),
        aliases=tuple(version.aliases),
        revision=revision,
    )


def decode_state(state: pb.ModelState, *, pinned: Mapping[str, Pinned], freshness: Freshness) -> Model:
    """Return a model as it came from the registry, together with what was pinned before."""
    return Model(
        name=state.name,
        revision=state.revision,
        exists=state.exists,
        latest_version=state.latest_version,
        versions=tuple(decode_version(version, revision=state.revision) for version in state.versions),
        pinned=pinned if state.exists else {},
        freshness=freshness,
    )


def _answers(model: Model) -> Iterator[tuple[tuple[str, str], Answer]]:
    for pin in model.pinned.values():
        if pin.resolved:
            current = pin.revision >= model.revision
            answer = Answer(pin.resolved, model.freshness if current else pin.freshness)
            yield ("version", pin.resolved.version), answer
    # The newest comes last, and so has the stage.
    for version in sorted(model.versions, key=lambda version: int(version.version)):
        answer = Answer(version, model.freshness)
        yield ("version", version.version), answer
        yield ("stage", version.stage.lower()), answer
        yield from ((("alias", alias), answer) for alias in version.aliases)
        if version.version == model.latest_version:
            yield ("alias", LATEST), answer


def _targets(model: Model) -> dict[str, str]:
    """Return the version that each alias and stage stands for, by how people write them."""
    found = {}
    for (kind, value), answer in model.answers.items():
        if kind != "version":
            place = f"@{value}" if kind == "alias" else f"/{answer.resolved.stage}"
            found[model.name + place] = answer.resolved.version
    return found
