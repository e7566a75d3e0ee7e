"""A revision of a promotion policy as it is kept, and the errors about it."""

from dataclasses import dataclass

from services.common.errors import Conflict, InvalidArgument, NotFound

PAGE_SIZE_MAX = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionPolicy:
    """`policy_yaml` is None in the revision that deleted the policy; the time is milliseconds since the Unix epoch."""

    name: str | None
    revision: int
    policy_yaml: str | None
    set_by: str
    set_timestamp: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Whether somebody could make a move, and what it lacks."""

    allowed: bool
    missing: tuple[str, ...]
    approvals: int
    approvals_required: int


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 100."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be from 1 to {PAGE_SIZE_MAX}"
        )


def check_revision(name: str, expected: int | None, newest: PromotionPolicy | None) -> None:
    """Raises Conflict unless the newest revision is the expected one, if one is expected; 0 is none. Raises
    InvalidArgument for what is no revision.
    """
    if expected is not None and expected < 0:
        raise InvalidArgument(f"Invalid value {expected} for parameter 'if_revision' supplied: it must be at least 0.")
    found = newest.revision if newest else 0
    if expected is not None and expected != found:
        raise Conflict(f"{_policy(name)} is at revision {found}, not {expected} as if_revision expects.")


def not_found(name: str) -> NotFound:
    """Return the error for a policy that there is not."""
    return NotFound(f"{_policy(name)} not found")


def _policy(name: str) -> str:
    return f"Promotion policy of model {name}" if name else "Default promotion policy"
