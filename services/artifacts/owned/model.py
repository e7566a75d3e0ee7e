"""Who owns artifacts, and the rules on requests for them that need no I/O."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.common.auth import Asker
from services.common.errors import InvalidArgument

UPLOAD_BYTES_MAX = 10 * 1024 * 1024
EXPIRES_S_DEFAULT = 900
EXPIRES_S_MAX = 7 * 24 * 3600

# Artifacts that clients reach through the platform, whose store is no business of theirs (as MLflow 3.18, handlers.py).
_PROXIED_SCHEMES = frozenset({"http", "https", "mlflow-artifacts"})
_RUNS_SCHEME = "runs"


class OwnerKind(Enum):
    """What can have artifacts of its own."""

    RUN = "run"
    LOGGED_MODEL = "logged model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A run or a logged model, by its id."""

    kind: OwnerKind
    id: str


class Owners(Protocol):
    """Knows where the artifacts of runs and logged models are."""

    async def artifact_uri(self, owner: Owner, asker: Asker) -> str:
        """Return the URI of an owner's artifacts. Raises what tracking says, such as NotFound; Unavailable."""


class Versions(Protocol):
    """Knows where the files of versions of registered models are."""

    async def artifact_uri(self, name: str, version: str, asker: Asker) -> str:
        """Return the URI of a version's files. Raises what the registry says, such as NotFound; Unavailable."""


def run(run_id: str) -> Owner:
    return Owner(kind=OwnerKind.RUN, id=run_id)


def logged_model(model_id: str) -> Owner:
    return Owner(kind=OwnerKind.LOGGED_MODEL, id=model_id)


def one_of(run_id: str, model_id: str) -> Owner:
    """Return the owner that a request names. Raises InvalidArgument unless it names exactly one."""
    if bool(run_id) == bool(model_id):
        raise InvalidArgument("Exactly one of run_id and model_id must be provided.")
    return run(run_id) if run_id else logged_model(model_id)


def parse_run_uri(uri: str) -> tuple[str, str] | None:
    """Return the run and the path below its root that `runs:/<run id>[/<path>]` names; None for another scheme.

    Raises InvalidArgument if it names a host or no run.
    """
    scheme, _, rest = uri.partition(":")
    if scheme != _RUNS_SCHEME:
        return None
    run_id, _, path = rest.removeprefix("/").partition("/")
    if not run_id or rest.startswith("//"):
        raise InvalidArgument(f"'{uri}' names no run: expected runs:/<run id>/<path>.")
    return run_id, path


def check_expiration(expires_s: int) -> None:
    """Raises InvalidArgument unless a signed URL can be good for so many seconds."""
    if not 1 <= expires_s <= EXPIRES_S_MAX:
        raise InvalidArgument(f"expiration must be between 1 and {EXPIRES_S_MAX} seconds (got {expires_s}).")


def check_not_proxied(uri: str, *, transfer: str) -> None:
    """Raises InvalidArgument for artifacts whose own store clients do not see. `transfer` begins the complaint."""
    scheme = uri.partition(":")[0].lower()
    if scheme in _PROXIED_SCHEMES:
        raise InvalidArgument(f"{transfer} (artifact URI scheme: {scheme}). {_NEEDED[transfer]}")


UPLOAD = "Presigned upload is not supported for proxied artifact storage"
DOWNLOAD = "Presigned download is not supported for runs with proxied artifact storage"
_NEEDED = {
    UPLOAD: "This endpoint requires a direct cloud storage artifact URI.",
    DOWNLOAD: "This endpoint requires a run with a direct cloud storage artifact URI.",
}
