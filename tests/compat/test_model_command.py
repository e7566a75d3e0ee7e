"""`modelstead model …` against the real platform: a version's way to Production under a policy, told by exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from modelstead.cli import application
from services.common.auth import AuthKind
from tests.stack import Stack

POLICY = """\
rules:
  Production:
    approvals: 2
    approvers: {groups: [leads]}
    checks: [bias]
aliases:
  champion:
    approvals: 1
    approvers: {groups: [leads]}
    self_approval: true
"""
DONE, FAILED, REFUSED, CONFLICT, NOT_FOUND, PENDING = 0, 1, 3, 4, 5, 6
MOVE = ("fraud", "1", "Production")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A platform that takes callers for whom they say they are, with 3 versions of `fraud`."""
    with Stack(tmp_path_factory.mktemp("command-stack"), auth=AuthKind.DEV) as stack:
        with httpx.Client(base_url=f"{stack.url}/api/2.0/mlflow/", auth=("owner", ""), timeout=60) as client:
            client.post("registered-models/create", json={"name": "fraud"}).raise_for_status()
            for _ in range(3):
                body = {"name": "fraud", "source": "s3://b/fraud"}
                client.post("model-versions/create", json=body).raise_for_status()
        yield stack.url


class Caller:
    """Somebody at a terminal."""

    def __init__(self, url: str, name: str, groups: str = "") -> None:
        who = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": groups}
        self._environ = {"MLFLOW_TRACKING_URI": url, "COLUMNS": "200", **who}

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(application(), ["model", *arguments], env=self._environ)

    def code(self, *arguments: str) -> int:
        return self.run(*arguments).exit_code

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


def test_a_version_goes_to_production_as_its_policy_says(url: str, tmp_path: Path) -> None:
    owner, ci = Caller(url, "owner"), Caller(url, "ci")
    lead, other = Caller(url, "lead", "leads"), Caller(url, "other", "leads")
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("rules: {Production: {approvals: many}}\n")

    assert owner.code("policy", "validate", str(wrong), "--name", "fraud") == FAILED
    assert owner.code("policy", "validate", str(policy), "--name", "fraud") == DONE
    assert owner.code("policy", "get", "--name", "fraud") == NOT_FOUND
    assert owner.code("policy", "set", str(policy), "--name", "fraud", "--if-revision", "0") == DONE
    assert owner.code("policy", "set", str(policy), "--name", "fraud", "--if-revision", "0") == CONFLICT
    assert owner.run("policy", "get", "--name", "fraud").stdout.partition("\n")[2] == POLICY

    refused = ci.run("promote", *MOVE)
    assert refused.exit_code == REFUSED
    assert "approval" in refused.stderr
    assert ci.code("promote", *MOVE, "--or-request", "--comment", "please") == PENDING
    assert ci.code("promote", *MOVE, "--or-request") == PENDING
    assert ci.code("request", *MOVE) == CONFLICT
    assert ci.code("wait", *MOVE, "--every", "0.1", "--timeout", "0.3") == PENDING
    assert ci.code("approve", *MOVE) == REFUSED

    assert lead.code("approve", *MOVE) == PENDING
    assert other.code("evaluate", *MOVE) == REFUSED
    assert ci.code("check", "fraud", "1", "bias", "--state", "passed") == DONE
    assert other.code("evaluate", *MOVE) == DONE
    assert other.code("approve", *MOVE, "--comment", "fine") == DONE
    assert ci.code("wait", *MOVE, "--timeout", "60") == DONE

    shown = ci.json("show", "fraud", "1")
    assert shown["model_version"]["current_stage"] == "Production"
    assert [check["state"] for check in shown["checks"]] == ["PASSED"]
    assert shown["requests"] == []
    assert "fraud/Production" in ci.run("show", "fraud").stdout


def test_a_request_can_be_taken_back_and_turned_down(url: str) -> None:
    ci, lead = Caller(url, "ci"), Caller(url, "lead", "leads")
    move = ("fraud", "2", "Staging")

    assert ci.code("cancel", *move) == NOT_FOUND
    assert ci.code("request", *move) == DONE
    assert ci.code("cancel", *move) == DONE
    assert ci.code("request", *move) == DONE
    assert lead.code("reject", *move) == DONE
    assert lead.code("reject", *move) == NOT_FOUND
    assert ci.json("show", "fraud", "2")["requests"] == []


def test_conflicts_and_what_there_is_not_are_told_apart(url: str) -> None:
    owner = Caller(url, "owner")

    assert owner.code("promote", "fraud", "3", "Staging", "--if-stage", "Archived") == CONFLICT
    assert owner.code("promote", "fraud", "3", "Staging", "--if-version", "2") == CONFLICT
    assert owner.code("promote", "fraud", "3", "Staging", "--if-version", "") == DONE
    assert owner.code("promote", "fraud", "99", "Staging") == NOT_FOUND
    assert owner.code("show", "absent") == NOT_FOUND
    assert owner.code("promote", "fraud", "3", "nowhere") == FAILED


def test_a_release_moves_all_or_nothing(url: str) -> None:
    owner, lead = Caller(url, "owner"), Caller(url, "lead", "leads")
    moves = ("--move", "fraud/2=Archived", "--move", "fraud/2=@champion")

    assert owner.code("release", *moves) == REFUSED
    assert owner.json("show", "fraud", "2")["model_version"]["current_stage"] == "None"
    assert lead.code("release", *moves) == DONE
    assert owner.json("show", "fraud", "2")["model_version"]["aliases"] == ["champion"]
    assert owner.code("wait", "fraud", "2", "@champion", "--timeout", "60") == DONE
    assert owner.code("wait", "fraud", "1", "@champion", "--timeout", "0.1", "--every", "0.1") == PENDING


def test_history_tells_who_did_what(url: str) -> None:
    ci = Caller(url, "ci")
    assert ci.code("request", "fraud", "3", "Archived", "--comment", "too old") == DONE

    newest = ci.json("history", "fraud", "3", "--limit", "1")["activities"][0]

    assert (newest["activity_type"], newest["user_id"]) == ("REQUESTED_TRANSITION", "ci")
    assert (newest["to_stage"], newest["comment"]) == ("Archived", "too old")
    assert "too old" in ci.run("history", "fraud").stdout
