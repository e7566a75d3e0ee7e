"""A request to move a version, and who may do what about it: rules that need no I/O."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.common.auth import Caller
from services.common.errors import InvalidArgument, NotFound
from services.common.keys import check_length
from services.registry.activities.model import Activity, ActivityType
from services.registry.model_versions.model import ModelVersion
from services.registry.permissions.model import Level
from services.registry.promotions.model import Move, Policy, level_needed

COMMENT_LENGTH_MAX = 65_535
PAGE_SIZE_MAX = 1000
APPROVE, REJECT, CANCEL = "APPROVE_TRANSITION_REQUEST", "REJECT_TRANSITION_REQUEST", "CANCEL_TRANSITION_REQUEST"
OPEN, APPROVED, REJECTED, CANCELLED, EXPIRED = "OPEN", "APPROVED", "REJECTED", "CANCELLED", "EXPIRED"


@dataclass(frozen=True, kw_only=True, slots=True)
class TransitionRequest:
    """An open request. `to_stage` is a stage or `@` and an alias; times are milliseconds since the Unix epoch."""

    request_id: int
    version: int
    to_stage: str
    user_id: str
    comment: str | None
    creation_timestamp: int
    last_updated_timestamp: int
    available_actions: Sequence[str] = ()

    @property
    def id(self) -> str:
        return str(self.request_id)


def check_comment(comment: str) -> None:
    """Raises InvalidArgument for a long comment."""
    check_length("comment", COMMENT_LENGTH_MAX, comment)


def available_actions(
    request: TransitionRequest, *, policy: Policy, stage: str, caller: Caller, level: Level
) -> Iterator[str]:
    """Yield what a caller of a level may do about a request for a version that is in `stage`."""
    before = None if request.to_stage.startswith("@") else stage
    move = Move(version=request.version, before=before, target=request.to_stage)
    needed = policy.rules_of(before or "", request.to_stage)
    if level >= level_needed(move) and needed.counts(caller, requester=request.user_id):
        yield APPROVE
    if level >= level_needed(move) and needed.may_approve(caller):
        yield REJECT
    if may_cancel(request.user_id, caller=caller, level=level):
        yield CANCEL


def may_cancel(requester: str, *, caller: Caller, level: Level) -> bool:
    """Whether a caller of a level may take back somebody's request."""
    return caller.name == requester or level >= Level.MANAGE


def as_activity(request: TransitionRequest) -> Activity:
    """Return an open request as lists show it."""
    return Activity(
        id=request.id,
        activity_type=ActivityType.REQUESTED_TRANSITION.value,
        user_id=request.user_id,
        creation_timestamp=request.creation_timestamp,
        last_updated_timestamp=request.last_updated_timestamp,
        version=str(request.version),
        comment=request.comment,
        to_stage=request.to_stage,
        available_actions=request.available_actions,
    )


def not_found(name: str, version: int, target: str) -> NotFound:
    """Return the error for a request that there is not, or is not open any more."""
    return NotFound(f"No open transition request (name={name}, version={version}, stage={target}) found")


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 1,000."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be from 1 to {PAGE_SIZE_MAX}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTransitionRequest:
    """An open request as searches show it; times are milliseconds since the Unix epoch."""

    id: str
    name: str
    version: str
    current_stage: str
    to_stage: str
    user_id: str
    comment: str | None
    creation_timestamp: int
    expire_timestamp: int | None
    approved_by: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersionDatabricks:
    """A version as Databricks' registry tells it, to one caller; times are milliseconds since the Unix epoch."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str | None
    current_stage: str
    description: str | None
    source: str
    run_id: str
    run_link: str
    status: str
    status_message: str | None
    tags: Mapping[str, str]
    open_requests: Sequence[Activity]
    permission_level: str | None

    @classmethod
    def of(cls, version: ModelVersion, *, open_requests: Sequence[Activity], level: Level) -> "ModelVersionDatabricks":
        """Return a version with what is open about it and what a caller of a level may do."""
        same = {name: getattr(version, name) for name in cls.__slots__ if hasattr(version, name)}
        permission_level = f"CAN_{level.name}" if level else None
        return cls(**same, open_requests=open_requests, permission_level=permission_level)
