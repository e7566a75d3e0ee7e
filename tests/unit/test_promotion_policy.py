"""What a promotion policy may say, and how what is wrong with it is named."""

import re
from pathlib import Path

import pytest

from services.common.errors import InvalidArgument
from services.registry.promotions.model import NO_POLICY, People, RequiredCheck, Rules
from services.registry.promotions.policy import parse

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "promotion-policy.md"
HOUR_MS = 3_600_000


def test_the_documented_policy_says_what_the_document_says() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)

    policy = parse(example)

    assert policy.all_stages == ("None", "dev", "canary", "eu-prod", "retired")
    assert policy.archive == "retired"
    assert policy.request_expires_ms == 7 * 24 * HOUR_MS
    assert policy.owners == People(groups=frozenset({"platform"}))
    assert policy.rules_of("canary", "eu-prod") == Rules(
        approvals=2,
        approvers=People(users=frozenset({"alice"}), groups=frozenset({"leads", "risk"})),
        checks=(
            RequiredCheck(name="unit-tests"),
            RequiredCheck(name="bias-report", posted_by=People(users=frozenset({"ci-bot"}))),
        ),
    )
    assert policy.rules_of("retired", "eu-prod") == Rules(
        approvals=1, approvers=People(groups=frozenset({"on-call"})), self_approval=True
    )
    assert policy.rules_of("", "@champion").approvals == 1
    assert [policy.is_protected(stage) for stage in policy.all_stages] == [False, False, True, True, False]
    (freeze,) = policy.freezes
    assert (freeze.end_ms - freeze.start_ms) == (15 * 24 + 7) * HOUR_MS
    assert freeze.targets == {"eu-prod", "@champion"}


def test_what_is_absent_is_as_mlflow_has_it() -> None:
    assert parse("request_expires: 1h") == type(NO_POLICY)(request_expires_ms=HOUR_MS)


def test_stages_are_found_in_any_case() -> None:
    policy = parse("stages: [Dev, Live]\nedges: [{from: none, to: DEV}]\nrules: {LIVE: {approvals: 1}}\narchive: dev")

    assert policy.edges == {("None", "Dev"): None}
    assert (policy.stage_of("dEv"), policy.stage_of("NONE"), policy.archive) == ("Dev", "None", "Dev")
    assert policy.rules_of("Dev", "Live").approvals == 1


def test_without_a_stage_for_it_nothing_is_archived() -> None:
    assert parse("stages: [dev]").archive is None


WRONG = {
    "": "it is empty",
    "[]": "line 1: policy: expected a mapping, got a list",
    "stages: []": "line 1: stages: there must be a stage besides None",
    "stages: [None]": "line 1: stages[0]: 'None' cannot name a stage",
    "stages:\n- dev\n- Dev": "line 3: stages[1]: 'Dev' is there twice",
    "stages: [a b]": "'a b' cannot name a stage",
    "stages: [yes]": "expected text, got 'yes'; put it in quotes",
    "stages: ['1']": "'1' cannot name a stage",
    "stages: [latest]": "'latest' cannot name a stage",
    f"stages: [{', '.join(f's{n}' for n in range(33))}]": "the list has 33 entries, more than 32",
    "what: 1": "line 1: what: there is no such field; known are stages,",
    "stages: [a]\nstages: [b]": "line 2: policy: 'stages' is there twice",
    "edges: [{from: None}]": "edges[0]: 'to' is missing",
    "edges: [{from: None, to: dev}]": "edges[0].to: there is no stage 'dev'; known are None, Staging,",
    "edges: [{from: Staging, to: staging}]": "it leads from Staging to itself",
    "edges: [{from: None, to: Staging}, {from: none, to: Staging}]": "from None to Staging is there twice",
    "edges: [{from: Staging, to: None, approvals: 1}]": "no rules for stage None",
    "rules: {None: {approvals: 1}}": "there is no stage 'None' to make rules for",
    "rules: {Staging: {}, staging: {}}": "there are rules for stage Staging already",
    "rules: {Staging: {approvals: -1}}": "approvals: expected a whole number from 0 to 100, got '-1'",
    "rules: {Staging: {approvals: 101}}": "got '101'",
    "rules: {Staging: {approvals: 1.5}}": "got '1.5'",
    "rules: {Staging: {approvals: two}}": "got 'two'",
    "rules: {Staging: {approvals: 0x10}}": "got '0x10'",
    "rules: {Staging: {approvers: {users: [a]}}}": "needs no approvals; say `approvals: 1` or more",
    "rules: {Staging: {approvals: 2, approvers: {users: [a, a]}}}": "names only 1 approvers",
    "rules: {Staging: {approvals: 1, approvers: {}}}": "it must name a user or a group",
    "rules: {Staging: {approvals: 1, approvers: [a]}}": "expected a mapping, got a list",
    "rules: {Staging: {approvals: 1, approvers: {users: a}}}": "expected a list, got 'a'",
    "rules: {Staging: {self_approval: maybe}}": "self_approval: expected true or false, got 'maybe'",
    "rules: {Staging: {checks: [a, a]}}": "check 'a' is there twice",
    "rules: {Staging: {checks: [{posted_by: {users: [a]}}]}}": "'name' is missing",
    "rules: {Staging: {checks: ['a;b']}}": "'a;b' cannot name a check",
    "rules: {Staging: {checks: [" + ", ".join(f"c{n}" for n in range(65)) + "]}}": "65 entries, more than 64",
    "aliases: {latest: {approvals: 1}}": "'latest' alias name (case insensitive) is reserved.",
    "aliases: {a b: {approvals: 1}}": "Invalid alias name: 'a b'",
    "request_expires: 7": "expected text, got '7'",
    "request_expires: 7w": "expected a duration as 90m, 36h or 7d of at most 365 days, got '7w'",
    "request_expires: 366d": "got '366d'",
    "freezes: [{from: 2026-01-01, to: 2026-01-02T00:00:00Z, reason: x}]": "freezes[0].from: expected a time",
    "freezes: [{from: 2026-13-01T00:00:00Z, to: 2026-01-02T00:00:00Z, reason: x}]": "expected a time",
    "freezes: [{from: 2026-01-02T00:00:00Z, to: 2026-01-02T00:00:00Z, reason: x}]": "it ends before it begins",
    "freezes: [{from: 2026-01-02T00:00:00Z, to: 2026-01-03T00:00:00Z}]": "'reason' is missing",
    "freezes: [{from: 2026-01-02T00:00:00Z, to: 2026-01-03T00:00:00Z, reason: x, stages: ['@a']}]": "'@a'; known are",
    "freezes: [{from: 2026-01-02T00:00:00Z, to: 9999-12-31T23:59:59-23:59, reason: x}]": "to: expected a time",
    "archive: gone": "archive: there is no stage 'gone'",
    "owners: {}": "owners: it must name a user or a group",
    "owners: {users: ['']}": "owners.users[0]: the text is empty",
    "a: &x [1]\nb: *x": "line 1: anchors and aliases are not allowed",
    "[" * 9: "nested deeper than 8 levels",
    "a: !!python/name:os.system x": "there is no such field",
    "stages: !!python/tuple [a]": "expected a list",
    "stages: [!!python/name:os.system x]": "expected text",
    "a: [": "not YAML",
    "a: 1\n---\nb: 2": "not YAML: but found another document",
    "a: \x01": "characters that YAML does not allow",
    "# " + "x" * 65536: "exceeds 65536 bytes",
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.items(), ids=lambda value: value[:40])
def test_what_is_wrong_is_named(text: str, complaint: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        parse(text)

    assert complaint in raised.value.message
    assert "policy_yaml" in raised.value.message


def test_nothing_that_somebody_sends_takes_long() -> None:
    for text in ("[" * 65_000, "{" * 65_000, "a: " * 21_000, "- " * 32_000, "a: &a [*a]", "'" * 65_000, "? " * 32_000):
        with pytest.raises(InvalidArgument):
            parse(text)
