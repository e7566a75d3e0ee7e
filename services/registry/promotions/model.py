"""A promotion policy and what it decides: pure rules, which know neither routes nor tables.

A target is what a version can be moved to: a stage by its name, or an alias as `@<alias>`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from services.common.auth import Caller
from services.common.errors import InvalidArgument
from services.registry import rules
from services.registry.permissions.model import Level

PASSED = "PASSED"
_STAGING_LEVEL_STAGES = frozenset({rules.NO_STAGE, rules.STAGING, rules.ARCHIVED})


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Users and members of groups, by name."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def include(self, caller: Caller) -> bool:
        """Whether a caller is one of them."""
        return caller.name in self.users or not self.groups.isdisjoint(caller.groups)

    def __str__(self) -> str:
        kinds = (("user", sorted(self.users)), ("group", sorted(self.groups)))
        return " or ".join(
            f"{kind}{'s' if len(names) > 1 else ''} {', '.join(names)}" for kind, names in kinds if names
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RequiredCheck:
    """A check that must have passed; where `posted_by` is given, only what they say counts."""

    name: str
    posted_by: People | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a move needs. Without `approvers`, whoever may make the move may approve it."""

    approvals: int = 0
    approvers: People | None = None
    self_approval: bool = False
    checks: tuple[RequiredCheck, ...] = ()

    def may_approve(self, caller: Caller) -> bool:
        """Whether a caller is an approver, of some request."""
        return self.approvers is None or self.approvers.include(caller)

    def counts(self, approver: Caller, *, requester: str) -> bool:
        """Whether somebody's approval counts for a request of somebody; where none is needed, everybody's does."""
        may_be_own = self.self_approval or not self.approvals
        return self.may_approve(approver) and (may_be_own or approver.name != requester)


NO_RULES = Rules()


@dataclass(frozen=True, kw_only=True, slots=True)
class Freeze:
    """A time, from `start_ms` until before `end_ms`, in which nothing moves to or out of `targets`: None is all."""

    start_ms: int
    end_ms: int
    reason: str
    targets: frozenset[str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What a policy says. A version begins in stage None, which is not among `stages`.

    `edges` are the only moves between stages that there are; None is every move. An edge with rules of its own is
    judged by these, any other move by the rules of its target, `by_target`.
    """

    stages: tuple[str, ...] = rules.STAGES[1:]
    edges: Mapping[tuple[str, str], Rules | None] | None = None
    by_target: Mapping[str, Rules] = field(default_factory=lambda: MappingProxyType({}))
    freezes: tuple[Freeze, ...] = ()
    request_expires_ms: int | None = None
    archive: str | None = rules.ARCHIVED
    owners: People | None = None

    @property
    def all_stages(self) -> tuple[str, ...]:
        return (rules.NO_STAGE, *self.stages)

    @property
    def active_stages(self) -> tuple[str, ...]:
        """Those in which versions serve, and so replace each other."""
        return tuple(stage for stage in self.stages if stage != self.archive)

    def stage_of(self, text: str) -> str:
        """Return the stage that a text names in any case. Raises InvalidArgument."""
        for stage in self.all_stages:
            if stage.lower() == text.lower():
                return stage
        raise InvalidArgument(
            f"Invalid Model Version stage: {text[:300]}. Value must be one of {', '.join(self.all_stages)}."
        )

    def target_of(self, text: str) -> str:
        """Return the target that a text names: a stage in any case, or `@` and an alias. Raises InvalidArgument."""
        if not text.startswith("@"):
            return self.stage_of(text)
        rules.check_new_alias(text[1:])
        return text

    def check_archiving(self, stage: str, given: str) -> None:
        """Raises InvalidArgument for a stage whose other versions are not replaced."""
        if self.archive is None or stage not in self.active_stages:
            raise InvalidArgument(
                f"Model version transition cannot archive existing model versions because '{given}' is not an Active "
                f"stage. Valid stages are {list(self.active_stages if self.archive else ())}"
            )

    def rules_of(self, before: str, target: str) -> Rules:
        """Return what a move needs."""
        edge = (self.edges or {}).get((before, target))
        return edge or self.by_target.get(target, NO_RULES)

    def is_protected(self, target: str) -> bool:
        """Whether there are rules on how a version gets there."""
        edges = (self.edges or {}).items()
        return target in self.by_target or any(edge_rules for (_, to), edge_rules in edges if to == target)

    def may_be_changed_by(self, caller: Caller, level: Level) -> bool:
        """Whether a caller of a level may set, replace and delete this policy."""
        return self.owners.include(caller) if self.owners else level >= Level.MANAGE

    def posters_of(self, check: str) -> list[People]:
        """Return those who alone may post a check; an empty list means everybody."""
        every = [*self.by_target.values(), *(edge_rules for edge_rules in (self.edges or {}).values() if edge_rules)]
        required = [item for one in every for item in one.checks if item.name == check]
        posters = [item.posted_by for item in required if item.posted_by]
        return posters if len(posters) == len(required) else []


# What applies where nobody has set a policy: MLflow's stages, and no rules.
NO_POLICY = Policy()


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A version that is to be moved. `before` is its stage; None where the target is an alias."""

    version: int
    target: str
    before: str | None

    def __str__(self) -> str:
        if self.target.startswith("@"):
            return f"pointing alias {self.target[1:]} at version {self.version}"
        return f"moving version {self.version} from {self.before} to {self.target}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Approval:
    """Who has approved a request, with the groups that they had then, and what they may do with the model now."""

    giver: Caller
    level: Level


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """An open request to move a version."""

    request_id: int
    version: int
    target: str
    requester: str
    approvals: tuple[Approval, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PostedCheck:
    """What was posted last under a name about a version."""

    version: int
    name: str
    state: str
    poster: Caller


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that a decision rests on besides the move: the policy that applies, open requests and posted checks."""

    policy: Policy = NO_POLICY
    requests: Sequence[Request] = ()
    checks: Sequence[PostedCheck] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a move lacks, as parts of a sentence, and how far its approvals are; with nothing missing it may happen."""

    missing: tuple[str, ...]
    approvals: int
    approvals_required: int


def decide(evidence: Evidence, move: Move, caller: Caller, now_ms: int) -> Decision:
    """Decide whether a caller may move a version now. A direct move is a request and an approval by the same person."""
    policy = evidence.policy
    needed = policy.rules_of(move.before or "", move.target)
    approvers = _best_approvers(evidence, move, needed, caller)
    no_way = missing_way(policy, move)
    missing = (
        *([no_way] if no_way else ()),
        *_frozen(policy, move, now_ms),
        *_missing_checks(evidence, move, needed),
        *_missing_approvals(needed, approvers, caller),
    )
    return Decision(missing=missing, approvals=len(approvers), approvals_required=needed.approvals)


def missing_way(policy: Policy, move: Move) -> str | None:
    """Return why there is no such move at all, whoever approves it."""
    return _unknown(policy, move) or _missing_edge(policy, move)


def level_needed(move: Move) -> Level:
    """Return the permission that a move needs besides what the policy says."""
    if {move.before, move.target} <= _STAGING_LEVEL_STAGES:
        return Level.MANAGE_STAGING_VERSIONS
    return Level.MANAGE_PRODUCTION_VERSIONS


def _best_approvers(evidence: Evidence, move: Move, needed: Rules, caller: Caller) -> frozenset[str]:
    """Return whose approvals count for the request that has most, the caller's with them."""
    direct = Request(request_id=0, version=move.version, target=move.target, requester=caller.name)
    requests = [one for one in evidence.requests if (one.version, one.target) == (move.version, move.target)]
    counted = (
        frozenset(
            approver.name
            for approver in (*_givers(request, move, needed), caller)
            if needed.counts(approver, requester=request.requester)
        )
        for request in (direct, *requests)
    )
    return max(counted, key=len)


def _givers(request: Request, move: Move, needed: Rules) -> Iterator[Caller]:
    """Yield who has approved a request, where the policy names no approvers only those who may still make the move."""
    for approval in request.approvals:
        if needed.approvers is not None or approval.level >= level_needed(move):
            yield approval.giver


def _unknown(policy: Policy, move: Move) -> str | None:
    if move.before is None or move.target == rules.NO_STAGE:
        return None
    for stage in (move.before, move.target):
        if stage not in policy.all_stages:
            return (
                f"the policy has no stage {stage}, only {', '.join(policy.all_stages)}; from an unknown stage a "
                f"version moves to {rules.NO_STAGE}"
            )
    return None


def _missing_edge(policy: Policy, move: Move) -> str | None:
    if policy.edges is None or move.before is None or (move.before, move.target) in policy.edges:
        return None
    if move.before not in policy.all_stages:
        return None
    ways = ", ".join(target for before, target in policy.edges if before == move.before)
    return f"the policy has no edge from {move.before} to {move.target}, only to {ways or 'nowhere'}"


def _frozen(policy: Policy, move: Move, now_ms: int) -> Iterator[str]:
    for freeze in policy.freezes:
        concerned = freeze.targets is None or not freeze.targets.isdisjoint({move.before, move.target})
        if concerned and freeze.start_ms <= now_ms < freeze.end_ms:
            end = datetime.fromtimestamp(freeze.end_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
            yield f"it is frozen until {end}: {freeze.reason}"


def _missing_checks(evidence: Evidence, move: Move, needed: Rules) -> Iterator[str]:
    posted = {check.name: check for check in evidence.checks if check.version == move.version}
    for required in needed.checks:
        check = posted.get(required.name)
        if check is None:
            yield f"check {required.name} is not posted"
        elif required.posted_by and not required.posted_by.include(check.poster):
            yield f"check {required.name} must be posted by {required.posted_by}, not by {check.poster.name}"
        elif check.state != PASSED:
            yield f"check {required.name} is {check.state}"


def _missing_approvals(needed: Rules, approvers: frozenset[str], caller: Caller) -> Iterator[str]:
    if len(approvers) >= needed.approvals:
        return
    noun = "approval" if needed.approvals == 1 else "approvals"
    who = f" by {needed.approvers}" if needed.approvers else ""
    own = "" if needed.self_approval or caller.name in approvers else "; who asks for a move does not approve it"
    yield f"it has {len(approvers)} of {needed.approvals} {noun}{who}{own if needed.may_approve(caller) else ''}"
