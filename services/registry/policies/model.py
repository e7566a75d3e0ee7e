"""A revision of a promotion policy as it is kept, and the errors about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import Conflict, InvalidArgument, NotFound
from services.registry.promotions.model import People, Policy, Rules

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


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedPeople:
    """Users and groups, in the order of their names."""

    users: Sequence[str]
    groups: Sequence[str]

    @classmethod
    def of(cls, people: People | None) -> "DescribedPeople | None":
        return cls(users=sorted(people.users), groups=sorted(people.groups)) if people else None


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedCheck:
    """A check that must have passed."""

    check: str
    posted_by: DescribedPeople | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedRule:
    """What a move to a target needs; without `from_stage`, one from anywhere that has no rule of its own."""

    from_stage: str | None
    to_stage: str
    approvals: int
    approvers: DescribedPeople | None
    self_approval: bool
    checks: Sequence[DescribedCheck]

    @classmethod
    def of(cls, before: str | None, target: str, needed: Rules) -> "DescribedRule":
        checks = [DescribedCheck(check=one.name, posted_by=DescribedPeople.of(one.posted_by)) for one in needed.checks]
        return cls(
            from_stage=before,
            to_stage=target,
            approvals=needed.approvals,
            approvers=DescribedPeople.of(needed.approvers),
            self_approval=needed.self_approval,
            checks=checks,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedEdge:
    """A move that there is."""

    from_stage: str
    to_stage: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribedFreeze:
    """A time in which nothing moves, in milliseconds since the Unix epoch; without `stages` nothing at all."""

    start_timestamp: int
    end_timestamp: int
    reason: str
    stages: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What applies to a model, in parts; `origin` is NOWHERE, DEFAULT or MODEL."""

    origin: str
    stages: Sequence[str]
    rules: Sequence[DescribedRule]
    has_edges: bool
    edges: Sequence[DescribedEdge]
    freezes: Sequence[DescribedFreeze]
    request_expires_ms: int | None
    archive: str | None
    owners: DescribedPeople | None
    may_change: bool

    @classmethod
    def of(cls, policy: Policy, *, origin: str, may_change: bool) -> "Description":
        """Take a policy apart."""
        edges = policy.edges or {}
        return cls(
            origin=origin,
            stages=policy.all_stages,
            rules=[
                *(DescribedRule.of(None, target, needed) for target, needed in policy.by_target.items()),
                *(DescribedRule.of(before, target, needed) for (before, target), needed in edges.items() if needed),
            ],
            has_edges=policy.edges is not None,
            edges=[DescribedEdge(from_stage=before, to_stage=target) for before, target in edges],
            freezes=[
                DescribedFreeze(
                    start_timestamp=freeze.start_ms,
                    end_timestamp=freeze.end_ms,
                    reason=freeze.reason,
                    stages=sorted(freeze.targets or ()),
                )
                for freeze in policy.freezes
            ],
            request_expires_ms=policy.request_expires_ms,
            archive=policy.archive,
            owners=DescribedPeople.of(policy.owners),
            may_change=may_change,
        )


def origin_of(own: PromotionPolicy | None, default: PromotionPolicy | None) -> str:
    """Return where what applies comes from, of the newest revisions of a model's own policy and of the default."""
    if own is not None and own.policy_yaml is not None:
        return "MODEL"
    return "DEFAULT" if default is not None and default.policy_yaml is not None else "NOWHERE"


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
