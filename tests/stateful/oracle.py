"""What docs/promotion-policy.md says, written down once more and plainly: a registry in memory that no database keeps.

A policy is the document itself, as Python has it. Every method raises Refused where the registry must refuse, and has
changed nothing then.
"""

import copy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.common.auth import Caller

Json = dict[str, Any]
PRESET = ["Staging", "Production", "Archived"]
READ, EDIT, MANAGE_STAGING, MANAGE_PRODUCTION, MANAGE = range(1, 6)


class Refused(Exception):
    """It must not happen."""


@dataclass
class Request:
    target: str
    requester: str
    expires: int | None
    approvers: dict[str, Caller] = field(default_factory=dict)


@dataclass
class Version:
    stage: str = "None"
    requests: list[Request] = field(default_factory=list)
    checks: dict[str, tuple[str, Caller]] = field(default_factory=dict)


@dataclass
class Model:
    policy: Json | None = None
    versions: dict[int, Version] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    made: int = 0


@dataclass
class World:
    """All models by name, at one time, which callers of a level change."""

    levels: dict[str, int]
    now: int
    default: Json | None = None
    models: dict[str, Model] = field(default_factory=dict)

    def policy_of(self, name: str) -> Json | None:
        own = self.models[name].policy
        return self.default if own is None else own

    def version(self, name: str, number: int) -> Version:
        if name not in self.models or number not in self.models[name].versions:
            raise Refused
        return self.models[name].versions[number]

    def new_version(self, name: str) -> None:
        model = self.models[name]
        model.made += 1
        model.versions[model.made] = Version()

    def move(self, name: str, number: int, target: str, caller: Caller, *, archive: bool = False) -> None:
        """Move a version to a stage, or an alias to it."""
        version, policy = self.version(name, number), self.policy_of(name) or {}
        if target.startswith("@"):
            if archive:
                raise Refused
            if self.models[name].aliases.get(target[1:]) != number:
                self._judge(name, number, target, caller)
                self.models[name].aliases[target[1:]] = number
            self._close(version, target)
            return
        self._check_stage(policy, target, archive=archive)
        there = [one for one, other in self.models[name].versions.items() if other.stage == target and one != number]
        moves = version.stage != target
        if moves:
            self._judge(name, number, target, caller)
        for other in there if archive else []:
            if moves:
                self._judge_way(name, other, archive_of(policy) or "", caller)
            else:
                self._judge(name, other, archive_of(policy) or "", caller)
        for other in there if archive else []:
            replaced = self.models[name].versions[other]
            replaced.stage = archive_of(policy) or ""
            self._close(replaced, replaced.stage)
        version.stage = target
        self._close(version, target)

    def release(self, moves: list[tuple[str, int, str]], caller: Caller) -> None:
        before = copy.deepcopy(self.models)
        try:
            for name, number, target in moves:
                self.move(name, number, target, caller)
        except Refused:
            self.models = before
            raise

    def request(self, name: str, number: int, target: str, caller: Caller) -> None:
        version, policy = self.version(name, number), self.policy_of(name) or {}
        if target.startswith("@"):
            if target[1:] not in policy.get("aliases", {}) or self.models[name].aliases.get(target[1:]) == number:
                raise Refused
        else:
            self._check_stage(policy, target, archive=False)
            if version.stage == target or not has_way(policy, version.stage, target):
                raise Refused
        if any(request.requester == caller.name for request in self._open(version, target)):
            raise Refused
        hours = int(policy["request_expires"][:-1]) if "request_expires" in policy else None
        expires = None if hours is None else self.now + hours * 3_600_000
        version.requests.append(Request(target, caller.name, expires))

    def approve(self, name: str, number: int, target: str, caller: Caller, *, archive: bool) -> None:
        version, policy = self.version(name, number), self.policy_of(name) or {}
        if not target.startswith("@"):
            self._check_stage(policy, target, archive=archive)
        elif archive:
            raise Refused
        before = copy.deepcopy(self.models[name])
        rule = rule_of(policy, version.stage, target)
        self._check_decides(name, number, target, caller)
        counted = [one for one in self._open(version, target) if counts(rule, caller, one.requester)]
        if not counted:
            raise Refused
        for request in counted:
            request.approvers[caller.name] = caller
        try:
            self._judge(name, number, target, caller)
        except Refused:
            return
        try:
            self.move(name, number, target, caller, archive=archive)
        except Refused:
            self.models[name] = before
            raise

    def reject(self, name: str, number: int, target: str, caller: Caller) -> None:
        version = self.version(name, number)
        if not self._open(version, target):
            raise Refused
        self._check_decides(name, number, target, caller)
        self._close(version, target)

    def cancel(self, name: str, number: int, target: str, creator: str, caller: Caller) -> None:
        version = self.version(name, number)
        mine = [request for request in self._open(version, target) if request.requester == creator]
        if not mine or (caller.name != creator and self.levels[caller.name] < MANAGE):
            raise Refused
        version.requests = [request for request in version.requests if request not in mine]

    def check(self, name: str, number: int, check: str, state: str, caller: Caller) -> None:
        version, policy = self.version(name, number), self.policy_of(name) or {}
        every = [*policy.get("rules", {}).values(), *policy.get("aliases", {}).values(), *policy.get("edges", [])]
        posters = [one.get("posted_by") for rule in every for one in rule.get("checks", []) if one["name"] == check]
        if posters and None not in posters and not any(are(people, caller) for people in posters):
            raise Refused
        version.checks[check] = (state, caller)

    def delete_alias(self, name: str, alias: str, caller: Caller) -> None:
        if alias in self.models[name].aliases:
            if is_protected(self.policy_of(name) or {}, f"@{alias}"):
                self._check_owns(name, caller)
            del self.models[name].aliases[alias]

    def delete_version(self, name: str, number: int, caller: Caller) -> None:
        version, model = self.version(name, number), self.models[name]
        aliases = [alias for alias, pointed in model.aliases.items() if pointed == number]
        policy = self.policy_of(name) or {}
        if any(is_protected(policy, target) for target in [version.stage, *(f"@{alias}" for alias in aliases)]):
            self._check_owns(name, caller)
        del model.versions[number]
        for alias in aliases:
            del model.aliases[alias]

    def delete_model(self, name: str, caller: Caller) -> None:
        if self.policy_of(name) is not None:
            self._check_owns(name, caller)
        del self.models[name]

    def rename(self, name: str, new_name: str, caller: Caller) -> None:
        if new_name in self.models:
            raise Refused
        if self.policy_of(name) is not None:
            self._check_owns(name, caller)
        self.models[new_name] = self.models.pop(name)

    def set_policy(self, name: str, policy: Json | None, caller: Caller) -> None:
        if name:
            if policy is None and self.models[name].policy is None:
                raise Refused
            self._check_owns(name, caller)
            self.models[name].policy = policy
            return
        owners = (self.default or {}).get("owners")
        is_owner = are(owners, caller) if owners else "admins" in caller.groups
        if not is_owner or (policy is None and self.default is None):
            raise Refused
        self.default = policy

    def _check_owns(self, name: str, caller: Caller) -> None:
        owners = (self.policy_of(name) or {}).get("owners")
        if not (are(owners, caller) if owners else self.levels[caller.name] >= MANAGE):
            raise Refused

    def _check_stage(self, policy: Json, stage: str, *, archive: bool) -> None:
        if stage not in stages_of(policy):
            raise Refused
        if archive and (archive_of(policy) is None or stage in ("None", archive_of(policy))):
            raise Refused

    def _check_decides(self, name: str, number: int, target: str, caller: Caller) -> None:
        version, policy = self.version(name, number), self.policy_of(name) or {}
        self._check_level(version.stage, target, caller)
        approvers = rule_of(policy, version.stage, target).get("approvers")
        if approvers and not are(approvers, caller):
            raise Refused

    def _check_level(self, stage: str, target: str, caller: Caller) -> None:
        is_staging = {stage, target} <= {"None", "Staging", "Archived"}
        if self.levels[caller.name] < (MANAGE_STAGING if is_staging else MANAGE_PRODUCTION):
            raise Refused

    def _judge_way(self, name: str, number: int, target: str, caller: Caller) -> None:
        stage = self.version(name, number).stage
        if not has_way(self.policy_of(name) or {}, stage, target):
            raise Refused
        self._check_level(stage, target, caller)

    def _judge(self, name: str, number: int, target: str, caller: Caller) -> None:
        """Raise Refused unless a version may get to a target now, by a caller."""
        version, policy = self.version(name, number), self.policy_of(name) or {}
        if not target.startswith("@"):
            self._judge_way(name, number, target, caller)
        elif target[1:] in policy.get("aliases", {}):
            self._check_level(version.stage, target, caller)
        concerned = {target} if target.startswith("@") else {version.stage, target}
        for freeze in policy.get("freezes", []):
            is_now = _ms(freeze["from"]) <= self.now < _ms(freeze["to"])
            if is_now and ("stages" not in freeze or concerned & set(freeze["stages"])):
                raise Refused
        rule = rule_of(policy, version.stage, target)
        for check in rule.get("checks", []):
            state, poster = version.checks.get(check["name"], ("", caller))
            if state != "PASSED" or ("posted_by" in check and not are(check["posted_by"], poster)):
                raise Refused
        if rule.get("approvals", 0) > self._approvals(version, target, rule, caller):
            raise Refused

    def _approvals(self, version: Version, target: str, rule: Json, caller: Caller) -> int:
        best = 0
        for request in [*self._open(version, target), Request(target, caller.name, None)]:
            names = set()
            for approver in [*request.approvers.values(), caller]:
                if counts(rule, approver, request.requester):
                    names.add(approver.name)
            best = max(best, len(names))
        return best

    def _open(self, version: Version, target: str) -> list[Request]:
        return [
            request
            for request in version.requests
            if request.target == target and (request.expires is None or self.now < request.expires)
        ]

    def _close(self, version: Version, target: str) -> None:
        version.requests = [request for request in version.requests if request.target != target]


def stages_of(policy: Json) -> list[str]:
    return ["None", *policy.get("stages", PRESET)]


def archive_of(policy: Json) -> str | None:
    if "archive" in policy:
        return str(policy["archive"])
    return "Archived" if "Archived" in stages_of(policy) else None


def has_way(policy: Json, before: str, target: str) -> bool:
    if before not in stages_of(policy):
        return target == "None"
    if target not in stages_of(policy):
        return False
    return "edges" not in policy or any((edge["from"], edge["to"]) == (before, target) for edge in policy["edges"])


def rule_of(policy: Json, stage: str, target: str) -> Json:
    if target.startswith("@"):
        return dict(policy.get("aliases", {}).get(target[1:], {}))
    for edge in policy.get("edges", []):
        if (edge["from"], edge["to"]) == (stage, target) and len(edge) > 2:
            return dict(edge)
    return dict(policy.get("rules", {}).get(target, {}))


def is_protected(policy: Json, target: str) -> bool:
    if target.startswith("@"):
        return target[1:] in policy.get("aliases", {})
    by_edge = any(edge["to"] == target and len(edge) > 2 for edge in policy.get("edges", []))
    return by_edge or target in policy.get("rules", {})


def counts(rule: Json, approver: Caller, requester: str) -> bool:
    if "approvers" in rule and not are(rule["approvers"], approver):
        return False
    return rule.get("self_approval", False) or not rule.get("approvals", 0) or approver.name != requester


def are(people: Json, caller: Caller) -> bool:
    return caller.name in people.get("users", []) or bool(caller.groups & set(people.get("groups", [])))


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
