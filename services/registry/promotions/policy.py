"""Reads a promotion policy from YAML: every field is checked, and what is wrong is named with its line."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType

from services.common.errors import InvalidArgument
from services.registry import rules
from services.registry.promotions.model import NO_POLICY, Freeze, People, Policy, RequiredCheck, Rules
from services.registry.promotions.yaml_nodes import Node, compose

STAGES_MAX = 32
EDGES_MAX = 256
CHECKS_MAX = 64
APPROVALS_MAX = 100
PEOPLE_MAX = 256
FREEZES_MAX = 64
ALIASES_MAX = 64
REASON_LENGTH_MAX = 1000
EXPIRY_DAYS_MAX = 365

_STAGE = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_CHECK = re.compile(r"[\w.\-/ ]{1,100}")
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_MS_OF_UNIT = MappingProxyType({"m": 60_000, "h": 3_600_000, "d": 86_400_000})
_RULES = ("approvals", "approvers", "self_approval", "checks")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


def check_check_name(name: str) -> None:
    """Raises InvalidArgument for what cannot name a check."""
    if not _CHECK.fullmatch(name):
        raise InvalidArgument(
            f"Invalid value {name[:300]!r} for parameter 'check' supplied: 1 to 100 letters, digits, spaces and _ . - /"
        )


@lru_cache(maxsize=128)
def parse(text: str) -> Policy:
    """Return the policy that a YAML document is. Raises InvalidArgument, which names field, value and line."""
    fields = compose(text).fields(
        "stages", "edges", "rules", "aliases", "freezes", "request_expires", "archive", "owners"
    )
    stages = _stages(fields["stages"]) if "stages" in fields else NO_POLICY.stages
    by_target = {
        **(_rules_of_stages(fields["rules"], stages) if "rules" in fields else {}),
        **(_rules_of_aliases(fields["aliases"]) if "aliases" in fields else {}),
    }
    targets = [*stages, rules.NO_STAGE, *(target for target in by_target if target.startswith("@"))]
    return Policy(
        stages=stages,
        edges=_edges(fields["edges"], stages) if "edges" in fields else None,
        by_target=MappingProxyType(by_target),
        freezes=tuple(_freezes(fields["freezes"], targets)) if "freezes" in fields else (),
        request_expires_ms=_duration_ms(fields["request_expires"]) if "request_expires" in fields else None,
        archive=_archive(fields.get("archive"), stages),
        owners=_people(fields["owners"]) if "owners" in fields else None,
    )


def _stages(node: Node) -> tuple[str, ...]:
    stages: list[str] = []
    for item in node.items(most=STAGES_MAX):
        stage = item.text()
        if not _STAGE.fullmatch(stage) or stage.lower() in (rules.NO_STAGE.lower(), rules.LATEST):
            raise item.wrong(
                f"{stage!r} cannot name a stage: a letter, then letters, digits and _ . -, at most 64; not None, where "
                "every version begins, and not latest"
            )
        if stage.lower() in (other.lower() for other in stages):
            raise item.wrong(f"{stage!r} is there twice; case does not tell stages apart")
        stages.append(stage)
    if not stages:
        raise node.wrong("there must be a stage besides None")
    return tuple(stages)


def _stage(node: Node, stages: tuple[str, ...], *, with_none: bool) -> str:
    text = node.text()
    known = (rules.NO_STAGE, *stages) if with_none else stages
    for stage in known:
        if stage.lower() == text.lower():
            return stage
    raise node.wrong(f"there is no stage {text!r}; known are {', '.join(known)}")


def _edges(node: Node, stages: tuple[str, ...]) -> Mapping[tuple[str, str], Rules | None]:
    edges: dict[tuple[str, str], Rules | None] = {}
    for item in node.items(most=EDGES_MAX):
        fields = item.fields("from", "to", *_RULES)
        for name in ("from", "to"):
            if name not in fields:
                raise item.wrong(f"{name!r} is missing")
        edge = tuple(_stage(fields[name], stages, with_none=True) for name in ("from", "to"))
        if edge[0] == edge[1]:
            raise item.wrong(f"it leads from {edge[0]} to itself")
        if edge in edges:
            raise item.wrong(f"the edge from {edge[0]} to {edge[1]} is there twice")
        own = {name: fields[name] for name in _RULES if name in fields}
        if own and edge[1] == rules.NO_STAGE:
            raise item.wrong("there are no rules for stage None, where every version begins")
        edges[edge[0], edge[1]] = _rules(item, own) if own else None
    return MappingProxyType(edges)


def _rules_of_stages(node: Node, stages: tuple[str, ...]) -> dict[str, Rules]:
    found: dict[str, Rules] = {}
    for name, item in node.entries(most=STAGES_MAX):
        stage = next((stage for stage in stages if stage.lower() == name.lower()), None)
        if stage is None:
            raise item.wrong(f"there is no stage {name!r} to make rules for; known are {', '.join(stages)}")
        if stage in found:
            raise item.wrong(f"there are rules for stage {stage} already")
        found[stage] = _rules(item, item.fields(*_RULES))
    return found


def _rules_of_aliases(node: Node) -> dict[str, Rules]:
    found: dict[str, Rules] = {}
    for alias, item in node.entries(most=ALIASES_MAX):
        try:
            rules.check_new_alias(alias)
        except InvalidArgument as error:
            raise item.wrong(error.message) from None
        found[f"@{alias}"] = _rules(item, item.fields(*_RULES))
    return found


def _rules(node: Node, fields: Mapping[str, Node]) -> Rules:
    approvals = fields["approvals"].integer(least=0, most=APPROVALS_MAX) if "approvals" in fields else 0
    approvers = _people(fields["approvers"]) if "approvers" in fields else None
    if approvers and not approvals:
        raise node.wrong("it names approvers but needs no approvals; say `approvals: 1` or more")
    if approvers and not approvers.groups and len(approvers.users) < approvals:
        raise node.wrong(f"it needs {approvals} approvals, but names only {len(approvers.users)} approvers")
    return Rules(
        approvals=approvals,
        approvers=approvers,
        self_approval=fields["self_approval"].boolean() if "self_approval" in fields else False,
        checks=tuple(_checks(fields["checks"])) if "checks" in fields else (),
    )


def _checks(node: Node) -> Iterator[RequiredCheck]:
    seen: set[str] = set()
    for item in node.items(most=CHECKS_MAX):
        fields = item.fields("name", "posted_by") if item.is_mapping else {"name": item}
        if "name" not in fields:
            raise item.wrong("'name' is missing")
        name = fields["name"].text()
        if not _CHECK.fullmatch(name):
            raise item.wrong(f"{name!r} cannot name a check: 1 to 100 letters, digits, spaces and _ . - /")
        if name in seen:
            raise item.wrong(f"check {name!r} is there twice")
        seen.add(name)
        yield RequiredCheck(name=name, posted_by=_people(fields["posted_by"]) if "posted_by" in fields else None)


def _people(node: Node) -> People:
    fields = node.fields("users", "groups")
    named = {
        kind: frozenset(item.text() for item in fields[kind].items(most=PEOPLE_MAX)) if kind in fields else frozenset()
        for kind in ("users", "groups")
    }
    if not any(named.values()):
        raise node.wrong("it must name a user or a group")
    return People(users=named["users"], groups=named["groups"])


def _freezes(node: Node, targets: list[str]) -> Iterator[Freeze]:
    for item in node.items(most=FREEZES_MAX):
        fields = item.fields("from", "to", "reason", "stages")
        for name in ("from", "to", "reason"):
            if name not in fields:
                raise item.wrong(f"{name!r} is missing")
        start_ms, end_ms = _time_ms(fields["from"]), _time_ms(fields["to"])
        if start_ms >= end_ms:
            raise item.wrong("it ends before it begins")
        named = [_target(one, targets) for one in fields["stages"].items(most=96)] if "stages" in fields else None
        yield Freeze(
            start_ms=start_ms,
            end_ms=end_ms,
            reason=fields["reason"].text(length_max=REASON_LENGTH_MAX),
            targets=None if named is None else frozenset(named),
        )


def _target(node: Node, targets: list[str]) -> str:
    text = node.text()
    for target in targets:
        if target == text or (not text.startswith("@") and target.lower() == text.lower()):
            return target
    raise node.wrong(f"there is no stage or protected alias {text!r}; known are {', '.join(targets)}")


def _time_ms(node: Node) -> int:
    text = node.text()
    try:
        if not _RFC_3339.fullmatch(text):
            raise ValueError(text)
        return int(datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise node.wrong(f"expected a time as 2026-12-24T00:00:00Z (RFC 3339), got {text[:100]!r}") from None


def _duration_ms(node: Node) -> int:
    text = node.text()
    match = _DURATION.fullmatch(text)
    duration_ms = int(match[1]) * _MS_OF_UNIT[match[2]] if match else 0
    if not 0 < duration_ms <= EXPIRY_DAYS_MAX * _MS_OF_UNIT["d"]:
        raise node.wrong(f"expected a duration as 90m, 36h or 7d of at most {EXPIRY_DAYS_MAX} days, got {text[:100]!r}")
    return duration_ms


def _archive(node: Node | None, stages: tuple[str, ...]) -> str | None:
    if node is not None:
        return _stage(node, stages, with_none=False)
    return rules.ARCHIVED if rules.ARCHIVED in stages else None
