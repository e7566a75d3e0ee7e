"""An experiment, and the rules on it that need no I/O."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from services.common.artifact_hosts import check_host
from services.common.artifact_stores import MANAGED_SCHEME, Stores
from services.common.errors import InvalidArgument
from services.common.keys import check_key, check_length
from services.tracking.rules import ACTIVE

DEFAULT_EXPERIMENT_ID = 0
NAME_LENGTH_MAX = 500
ARTIFACT_LOCATION_LENGTH_MAX = 2048
TAG_KEY_LENGTH_MAX = 250
TAG_VALUE_LENGTH_MAX = 20_000
ID_MAX = 2**63 - 1
CUSTOM_VIEWS_MAX = 50

_RETENTION_TAG = "mlflow.trace.archivalRetention"
_ARCHIVE_NOW_TAG = "mlflow.trace.archiveNow"
_DURATION = re.compile(r"[1-9][0-9]{0,30}[mhd]")
_CUSTOM_VIEW_TAG_PREFIX = "mlflow.customView.view"


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


def check_artifact_location(uri: str, stores: Stores) -> None:
    """Raises InvalidArgument for what cannot be an artifact location (as MLflow 3.18, handlers.py), or may not."""
    parts = urlsplit(uri)
    if parts.fragment or ";" in parts.path.rpartition("/")[2]:
        raise InvalidArgument("'artifact_location' URL can't include fragments or params.")
    if ".." in parts.query:
        raise InvalidArgument("Invalid query string")
    check_host(uri, field="artifact_location", stores=stores)
    if uri.startswith("runs:"):
        raise InvalidArgument(f"Artifact location cannot be a runs:/ URI. Given: '{uri}'")
    if len(uri) > ARTIFACT_LOCATION_LENGTH_MAX:
        raise InvalidArgument(
            "Invalid artifact path length. The length of the artifact path cannot be greater than "
            f"{ARTIFACT_LOCATION_LENGTH_MAX} characters."
        )
    if not stores.allow(uri):
        raise InvalidArgument(
            f"'artifact_location' {uri!r} is in no artifact store that this server's operator allows. Leave it out, "
            f"give a plain path below '{MANAGED_SCHEME}:/', or have the operator allow a root above it in the file "
            "that MODELSTEAD_ARTIFACT_STORES names."
        )


def check_custom_views(tags: Mapping[str, str], *, experiment_id: str = "") -> None:
    """Raises InvalidArgument if more than 50 tags hold views that people saved in the UI."""
    if sum(key.startswith(_CUSTOM_VIEW_TAG_PREFIX) for key in tags) > CUSTOM_VIEWS_MAX:
        where = f" for experiment {experiment_id}" if experiment_id else ""
        raise InvalidArgument(
            f"Unable to create another custom view{where}; the maximum number of custom views per experiment is "
            f"{CUSTOM_VIEWS_MAX}. Delete an existing custom view before creating a new one."
        )


def check_tag(key: str, value: str) -> None:
    """Raises InvalidArgument for a malformed or long tag of an experiment."""
    check_key(key, path="key")
    check_length("key", TAG_KEY_LENGTH_MAX, key)
    check_length("value", TAG_VALUE_LENGTH_MAX, value)
    if key in (_RETENTION_TAG, _ARCHIVE_NOW_TAG):
        _check_trace_archival(key, value)


def _check_trace_archival(key: str, value: str) -> None:
    """Raises InvalidArgument for what cannot configure the archiving of traces (as MLflow 3.18, validation.py)."""
    try:
        config: Any = json.loads(value)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InvalidArgument("Trace archival config must be encoded as a JSON object.")
    if key == _RETENTION_TAG and config.get("type") != "duration":
        raise InvalidArgument("Trace archival config must use type 'duration'.")
    duration = config.get("value" if key == _RETENTION_TAG else "older_than")
    if duration is None and key == _ARCHIVE_NOW_TAG:
        return
    if not isinstance(duration, str) or not _DURATION.fullmatch(duration.strip()):
        raise InvalidArgument(
            "Trace archival retention must be in the form `<int><unit>`, where unit is one of 'm', 'h', or 'd'."
        )
