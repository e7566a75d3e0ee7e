"""What can be purged, and the rules on it that need no I/O."""

from dataclasses import dataclass
from enum import Enum

from services.common.errors import InvalidArgument
from services.tracking import rules

PAGE_SIZE_MAX = 1000


class Kind(Enum):
    """What a purge can be of; the names are those of modelstead.tracking.v1.Purgeable.Kind."""

    RUN = "run"
    LOGGED_MODEL = "logged model"
    EXPERIMENT = "experiment"


@dataclass(frozen=True, kw_only=True, slots=True)
class Purgeable:
    """A deleted resource; without `artifact_uri` it has no artifacts of its own. `kind` is a name of Kind."""

    kind: str
    id: str
    artifact_uri: str | None


def parse_kind(name: str) -> Kind:
    """Raises InvalidArgument."""
    try:
        return Kind[name]
    except KeyError:
        raise InvalidArgument(f"Invalid value {name} for parameter 'kind' supplied: it is not known.") from None


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 1,000."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be 1 to {PAGE_SIZE_MAX}"
        )


def own_tree(experiment_id: str, *, artifact_location: str, artifact_root: str, is_shared: bool) -> str | None:
    """Return an experiment's artifact location if nothing but what belongs to the experiment can be below it.

    A location that somebody gave may be anything, such as the root of a bucket.
    """
    is_own = artifact_location == rules.join_uri(artifact_root, experiment_id)
    return artifact_location if is_own and not is_shared else None


def not_purgeable(kind: Kind, resource_id: str) -> InvalidArgument:
    return InvalidArgument(
        f"The {kind.value} {resource_id} cannot be purged: it is active, was restored or deleted lately, or still "
        "holds others."
    )


def not_begun(kind: Kind, resource_id: str) -> InvalidArgument:
    return InvalidArgument(f"No purge of the {kind.value} {resource_id} was begun.")
