"""An experiment, and the rules on it that need no I/O."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from services.common.errors import InvalidArgument
from services.tracking.rules import ACTIVE, check_key, check_length

DEFAULT_EXPERIMENT_ID = 0
NAME_LENGTH_MAX = 500
ARTIFACT_LOCATION_LENGTH_MAX = 2048
TAG_KEY_LENGTH_MAX = 250
TAG_VALUE_LENGTH_MAX = 20_000
ID_MAX = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Times are milliseconds since the Unix epoch; `lifecycle_stage` is `active` or `deleted`."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    creation_time: int
    last_update_time: int
    workspace: str
    tags: dict[str, str] = field(default_factory=dict)

    def check_active(self) -> None:
        """Raises InvalidArgument if the experiment is deleted."""
        if self.lifecycle_stage != ACTIVE:
            raise InvalidArgument(
                f"The experiment {self.experiment_id} must be in the 'active' state. "
                f"Current state is {self.lifecycle_stage}."
            )


def parse_id(text: str) -> int:
    """Return an experiment's number. Raises InvalidArgument."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= ID_MAX:
        raise InvalidArgument(f"Invalid experiment ID '{text[:100]}'. Experiment ID must be a valid integer.")
    return number


def check_name(name: str) -> None:
    """Raises InvalidArgument for an empty, blank or long name."""
    if not name.strip():
        raise InvalidArgument(f"Invalid experiment name: '{name}'")
    check_length("name", NAME_LENGTH_MAX, name)


def check_artifact_location(uri: str) -> None:
    """Raises InvalidArgument for what cannot be an artifact location (as MLflow 3.18, handlers.py)."""
    parts = urlsplit(uri)
    if parts.fragment or ";" in parts.path.rpartition("/")[2]:
        raise InvalidArgument("'artifact_location' URL can't include fragments or params.")
    if ".." in parts.query:
        raise InvalidArgument("Invalid query string: '..' is not allowed in 'artifact_location'.")
    if uri.startswith("runs:"):
        raise InvalidArgument(f"Artifact location cannot be a runs:/ URI. Given: '{uri}'")
    if len(uri) > ARTIFACT_LOCATION_LENGTH_MAX:
        raise InvalidArgument(
            "Invalid artifact path length. The length of the artifact path cannot be greater than "
            f"{ARTIFACT_LOCATION_LENGTH_MAX} characters."
        )


def check_tag(key: str, value: str) -> None:
    """Raises InvalidArgument for a malformed or long tag of an experiment."""
    check_key(key, path="key")
    check_length("key", TAG_KEY_LENGTH_MAX, key)
    check_length("value", TAG_VALUE_LENGTH_MAX, value)
