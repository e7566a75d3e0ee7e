"""A registered model, and the rules on it that need no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.common.errors import AlreadyExists, InvalidArgument, NotFound
from services.registry.model_versions.model import ModelVersion
from services.registry.prompts import PROMPT_TAG

PAGE_SIZE_MAX = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModelAlias:
    """`version` is a decimal number."""

    alias: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModel:
    """Times are milliseconds since the Unix epoch; `description` is None where it is empty."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None
    latest_versions: Sequence[ModelVersion] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Sequence[RegisteredModelAlias] = ()


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 1,000."""
    if max_results < 1:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer"
        )
    if max_results > PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value for request parameter max_results. It must be at most {PAGE_SIZE_MAX}, but got value "
            f"{max_results}"
        )


def not_found(name: str) -> NotFound:
    """Return the error for a registered model that there is not."""
    return NotFound(f"Registered Model with name={name} not found")


def taken(name: str, *, by: Mapping[str, str], wanted_for: Mapping[str, str]) -> AlreadyExists:
    """Return the error for a name that another model, or a prompt, has, by the tags of both."""
    owner, newcomer = (("Prompt" if PROMPT_TAG in tags else "Registered Model") for tags in (by, wanted_for))
    if owner == newcomer:
        return AlreadyExists(f"{newcomer} (name={name}) already exists.")
    return AlreadyExists(
        f"Tried to create a {newcomer.lower()} with name {name!r}, but the name is already taken by a "
        f"{owner.lower()}. MLflow does not allow creating a model and a prompt with the same name."
    )
