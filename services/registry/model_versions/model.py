"""A version of a registered model, and the rules on it that need no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.common.auth import Asker
from services.common.errors import InvalidArgument, NotFound
from services.common.keys import check_length
from services.registry import prompts, rules

PAGE_SIZE_MAX = 200_000
READY = "READY"

_URI_LENGTH_MAX = 2048
_ID_LENGTH_MAX = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """Times are milliseconds since the Unix epoch; `version` is a decimal number from 1 on."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None
    current_stage: str
    description: str | None
    source: str
    run_id: str
    status: str
    status_message: str | None
    run_link: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a version is made from: the source as it is shown, where its files are, and who made it."""

    source: str
    storage_location: str
    run_id: str
    model_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A version that is to be; `run_id` and `model_id` are None where the caller did not say."""

    name: str
    source: str
    run_id: str | None
    model_id: str | None
    run_link: str
    description: str
    tags: Mapping[str, str]

    @property
    def is_prompt(self) -> bool:
        return prompts.is_prompt(self.tags)

    def check(self) -> None:
        """Raises InvalidArgument for what cannot be a version, but for its source."""
        rules.check_name(self.name)
        for key, value in self.tags.items():
            check_tag(key, value)
        check_length("source", _URI_LENGTH_MAX, self.source)
        check_length("run_id", _ID_LENGTH_MAX, self.run_id or "")
        check_length("run_link", _URI_LENGTH_MAX, self.run_link)
        check_length("model_id", _ID_LENGTH_MAX, self.model_id or "")
        rules.check_description(self.description)

    def fields(self) -> tuple[Any, ...]:
        """Return all that tells this draft from another one."""
        return (
            self.name, self.source, self.run_id, self.model_id, self.run_link, self.description,
            sorted(self.tags.items()),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModel:
    """What the registry wants to know of a logged model."""

    artifact_uri: str
    source_run_id: str


class Tracking(Protocol):
    """What the registry asks tracking, on behalf of its own caller. All raise what tracking says, and Unavailable."""

    async def run_artifact_uri(self, run_id: str, asker: Asker) -> str | None:
        """Return where the artifacts of a run are, deleted or not; None if there is no such run."""

    async def logged_model(self, model_id: str, asker: Asker) -> LoggedModel | None:
        """Return a logged model; None if there is none, or it is deleted."""

    async def tag_logged_model(self, model_id: str, tags: Mapping[str, str], asker: Asker) -> None:
        """Set tags of a logged model."""


class Artifacts(Protocol):
    """What the registry asks the artifact service, on behalf of its own caller."""

    async def exist(self, uri: str, asker: Asker) -> bool:
        """Return whether there is anything at a URI. Raises InvalidArgument if it may not be looked at, Unavailable."""


def check_tag(key: str, value: str) -> None:
    """Raises InvalidArgument for a malformed or long tag of a version."""
    if key == prompts.TEXT_TAG and len(value) > rules.TAG_VALUE_LENGTH_MAX:
        raise InvalidArgument(f"Prompt text exceeds max length of {rules.TAG_VALUE_LENGTH_MAX} characters.")
    rules.check_tag(key, value)


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 200,000."""
    if max_results < 1:
        raise InvalidArgument(f"Invalid value for max_results. It must be a positive integer, but got {max_results}")
    if max_results > PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value for request parameter max_results. It must be at most {PAGE_SIZE_MAX}, but got value "
            f"{max_results}"
        )


def not_found(name: str, version: int) -> NotFound:
    """Return the error for a version that there is not, whether or not the registered model is there."""
    return NotFound(f"Model Version (name={name}, version={version}) not found")
