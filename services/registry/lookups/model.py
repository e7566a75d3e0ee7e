"""What a model's aliases and stages stand for at one revision, and what is found in it without I/O."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from services.common.errors import InvalidArgument, NotFound
from services.common.keys import check_length
from services.registry import rules
from services.registry.model_versions.model import ModelVersion
from services.registry.registered_models import model as registered_models

NAMES_MAX = 1000
# Answers kept with a state besides one for each of its versions.
_RESOLVED_MAX = 100
_STAGE_LENGTH_MAX = 256
_NONE_KNOWN = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedVersion(ModelVersion):
    """A version, and where its files are."""

    download_uri: str


class Selector(NamedTuple):
    """What of a model is asked for: exactly one of these is not empty."""

    alias: str = ""
    stage: str = ""
    version: str = ""

    def check(self) -> None:
        """Raises InvalidArgument unless exactly one is given, and well-formed."""
        if bool(self.alias) + bool(self.stage) + bool(self.version) != 1:
            raise InvalidArgument("Exactly one of the parameters 'alias', 'stage' and 'version' must be given.")
        rules.check_alias(self.alias)
        check_length("stage", _STAGE_LENGTH_MAX, self.stage)
        _ = self.number

    @property
    def number(self) -> int | None:
        """The number of the version that is asked for by its number. Raises InvalidArgument."""
        return rules.parse_version(self.version) if self.version else None

    def not_found(self, state: "ModelState") -> NotFound:
        """Return the error for a model that is not there, or that has nothing like this."""
        if not state.exists:
            return registered_models.not_found(state.name)
        what, value = next((what, value) for what, value in self._asdict().items() if value)
        return NotFound(f"Registered Model with name={state.name} has no version for {what} '{value}'.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """A version that was looked up, and the revision of its model."""

    model_version: ServedVersion
    revision: int
    encoded: dict[Any, bytes] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """What a name stands at. `versions` are those that an alias points at, the newest of each stage and the newest of
    all, in the order of their numbers; `change_timestamp` is in milliseconds since the Unix epoch.
    """

    name: str
    revision: int
    exists: bool
    versions: Sequence[ServedVersion] = ()
    change_timestamp: int | None = None
    # Roughly, in memory.
    bytes_count: int = 0
    encoded: dict[Any, bytes] = field(default_factory=dict, repr=False, compare=False)
    _resolved: dict[Selector, Resolved] = field(default_factory=dict, repr=False, compare=False)

    @property
    def latest_version(self) -> str | None:
        """The number of the newest version."""
        return self.versions[-1].version if self.versions else None

    def find(self, selector: Selector) -> Resolved | None:
        """Return what is asked for if it is here; a version of another number may exist all the same. Raises
        InvalidArgument.
        """
        found = self._resolved.get(selector)
        if found is None:
            selector.check()
            version = self._search(selector)
            if version is not None:
                found = Resolved(model_version=version, revision=self.revision)
                self.keep(selector, found)
        return found

    def keep(self, selector: Selector, found: Resolved) -> None:
        """Have what was read at the same revision found from now on."""
        if found.revision == self.revision and len(self._resolved) < len(self.versions) + _RESOLVED_MAX:
            self._resolved[selector] = found

    def _search(self, selector: Selector) -> ServedVersion | None:
        if selector.alias.lower() == rules.LATEST:
            return self.versions[-1] if self.versions else None
        if selector.alias:
            return next((version for version in self.versions if selector.alias in version.aliases), None)
        if selector.stage:
            stage = selector.stage.lower()
            return next((v for v in reversed(self.versions) if v.current_stage.lower() == stage), None)
        number = selector.number
        return next((version for version in self.versions if int(version.version) == number), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What a watcher is told: the state of a model, or that all is told; and where it goes on from there."""

    resume_token: str
    state: ModelState | None = None


class Known:
    """Which revision of each of some models a watcher knows.

    Its token is as long as it takes to name the revisions, and says nothing to a watcher of other models.
    """

    def __init__(self, names: Sequence[str], resume_token: str) -> None:
        """Raises InvalidArgument for a token that is none."""
        self._names = sorted(names)
        self._digest = hashlib.blake2b(orjson.dumps(self._names), digest_size=9).hexdigest()
        self._revision_of = dict.fromkeys(self._names, _NONE_KNOWN)
        if resume_token:
            self._resume(resume_token)

    def learn(self, state: ModelState) -> bool:
        """Take a state for known; return whether it is news."""
        is_news = state.revision > self._revision_of[state.name]
        if is_news:
            self._revision_of[state.name] = state.revision
        return is_news

    def token(self) -> str:
        """Return the text with which a watcher, on any replica, goes on from here."""
        return base64.urlsafe_b64encode(orjson.dumps([self._digest, list(self._revision_of.values())])).decode()

    def _resume(self, token: str) -> None:
        try:
            digest, revisions = orjson.loads(base64.urlsafe_b64decode(token))
            if digest == self._digest:
                self._revision_of = dict(zip(self._names, map(int, revisions), strict=True))
        except (ValueError, TypeError):
            raise InvalidArgument("Parameter 'resume_token' is none that a watch has sent.") from None


def check_names(names: Sequence[str]) -> None:
    """Raises InvalidArgument unless there are 1 to 1,000 different names, all of them possible."""
    if not 1 <= len(names) <= NAMES_MAX:
        raise InvalidArgument(f"Parameter 'names' must have 1 to {NAMES_MAX} entries, got {len(names)}.")
    if len(set(names)) < len(names):
        raise InvalidArgument("Parameter 'names' has an entry twice.")
    for name in names:
        rules.check_name(name)
