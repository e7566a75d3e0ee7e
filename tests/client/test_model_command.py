"""`modelstead model …` against an HTTP server: what is sent, what is printed, and with which code it ends."""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from modelstead.cli import application
from tests.client.platform import REFUSED, Answer, Platform, error

MOVE = "POST databricks/model-versions/transition-stage"
CREATE = "POST transition-requests/create"
APPROVE = "POST transition-requests/approve"
LIST = "GET transition-requests/list"
GET_VERSION = "GET model-versions/get"
GET_ALIAS = "GET registered-models/alias"
SET_POLICY = "POST promotion-policies/set"
VALIDATE_POLICY = "POST promotion-policies/validate"
RELEASE = "POST releases/create"

Run = Callable[..., Result]


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running


@pytest.fixture
def run(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `modelstead model` with arguments, in an environment that says nothing but where the platform is."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", platform.url)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(application(), ["model", *arguments], env=environ)

    return invoke


def version(stage: str, **fields: Any) -> Answer:
    return Answer(body={"model_version": {"name": "fraud", "version": "3", "current_stage": stage, **fields}})


def requests(*stages: str) -> Answer:
    cancel = ["CANCEL_TRANSITION_REQUEST"]
    asked = [{"user_id": "ann", "to_stage": stage, "available_actions": cancel} for stage in stages]
    return Answer(body={"requests": asked})


def test_promote_moves_a_version(platform: Platform, run: Run) -> None:
    platform.answer(MOVE, Answer())

    shown = run("promote", "fraud", "3", "Production", "--comment", "go", "--archive", "--if-version", "2")

    assert (shown.exit_code, shown.stdout) == (0, "fraud 3 is at Production.\n")
    assert platform.calls[0].given == {
        "name": "fraud", "version": "3", "stage": "Production", "comment": "go", "if_version": "2",
        "archive_existing_versions": True,
    }  # fmt: skip


def test_promote_to_an_alias_expects_that_there_is_none(platform: Platform, run: Run) -> None:
    platform.answer(MOVE, Answer())

    assert run("promote", "fraud", "3", "@champion", "--if-version", "").exit_code == 0
    assert platform.calls[0].given["if_version"] == ""


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (REFUSED, 3, "1 of 2 approvals is missing."),
        (Answer(status=403, body="Permission denied"), 3, "Permission denied"),
        (error(401, "UNAUTHENTICATED", "You are not authenticated."), 3, "You are not authenticated."),
        (error(409, "RESOURCE_CONFLICT", "expected 2, found 4"), 4, "expected 2, found 4"),
        (error(400, "RESOURCE_ALREADY_EXISTS", "already"), 4, "already"),
        (error(404, "RESOURCE_DOES_NOT_EXIST", "no model"), 5, "no model"),
        (error(400, "INVALID_PARAMETER_VALUE", "no stage"), 1, "no stage"),
        (error(500, "INTERNAL_ERROR", "error 7"), 1, "error 7"),
        (error(503, "TEMPORARILY_UNAVAILABLE", "away", Retry_After="0"), 7, "away"),
        (error(429, "RESOURCE_EXHAUSTED", "busy", Retry_After="0"), 7, "busy"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), 1, "HTTP 302"),
        (Answer(body="<html>"), 1, "is it the address of Modelstead?"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
def test_each_failure_has_its_exit_code(platform: Platform, run: Run, answer: Answer, code: int, said: str) -> None:
    platform.answer(MOVE, answer)

    shown = run("promote", "fraud", "3", "Production")
    as_json = run("promote", "fraud", "3", "Production", "--json")

    assert shown.exit_code == as_json.exit_code == code
    assert said in shown.stderr
    assert shown.stdout == ""
    told = json.loads(as_json.stdout)
    assert told["exit_code"] == code
    assert said in told["error"]


def test_a_platform_that_is_not_there_is_unavailable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        shown = run("show", "fraud", "--uri", url)

    assert shown.exit_code == 7
    assert url in shown.stderr


def test_what_may_be_sent_twice_is_tried_again_and_what_may_not_is_not(
    platform: Platform, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    here, sleep = threading.current_thread(), time.sleep

    def pause(seconds: float) -> None:
        # Other threads of the process sleep as well.
        if threading.current_thread() is here:
            pauses.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr("time.sleep", pause)
    away = error(503, "TEMPORARILY_UNAVAILABLE", "away", Retry_After="7")
    busy = error(429, "RESOURCE_EXHAUSTED", "busy", Retry_After="9999")
    platform.answer(MOVE, away, Answer(cut=True), busy, Answer())
    platform.answer(CREATE, busy, away, Answer())

    assert run("promote", "fraud", "3", "Production").exit_code == 0
    assert len(platform.calls) == 4
    assert (pauses[0], pauses[2]) == (7, 30)
    assert run("request", "fraud", "3", "Production").exit_code == 7
    assert len(platform.asked("transition-requests/create")) == 2
    platform.answer(MOVE, away, Answer())
    assert run("promote", "fraud", "3", "Production", "--if-version", "2").exit_code == 7


def test_attempts_are_bounded(platform: Platform, run: Run) -> None:
    platform.answer(GET_VERSION, error(503, "TEMPORARILY_UNAVAILABLE", "away", Retry_After="0"))

    assert run("show", "fraud", "3").exit_code == 7
    assert len(platform.calls) == 5


def test_promote_asks_where_the_policy_refuses(platform: Platform, run: Run) -> None:
    platform.answer(MOVE, REFUSED)
    platform.answer(CREATE, Answer(body={"request": {"to_stage": "Production"}}))

    shown = run("promote", "fraud", "3", "Production", "--or-request", "--json")

    assert shown.exit_code == 6
    assert json.loads(shown.stdout) == {
        "request": {"to_stage": "Production"}, "pending": True, "refused": "1 of 2 approvals is missing."
    }  # fmt: skip
    platform.answer(CREATE, error(400, "RESOURCE_ALREADY_EXISTS", "open"))
    assert run("promote", "fraud", "3", "Production", "--or-request").exit_code == 6
    platform.answer(CREATE, error(403, "PERMISSION_DENIED", "no such edge"))
    assert run("promote", "fraud", "3", "Production", "--or-request").exit_code == 3


def test_request_asks_once(platform: Platform, run: Run) -> None:
    platform.answer(CREATE, Answer(body={"request": {}}), error(400, "RESOURCE_ALREADY_EXISTS", "open"))

    assert run("request", "fraud", "3", "Production", "--comment", "why").exit_code == 0
    assert run("request", "fraud", "3", "Production").exit_code == 4
    assert platform.calls[0].given == {"name": "fraud", "version": "3", "stage": "Production", "comment": "why"}


@pytest.mark.parametrize(("stage", "code"), [("production", 0), ("Staging", 6)])
def test_approve_tells_whether_the_version_moved(platform: Platform, run: Run, stage: str, code: int) -> None:
    platform.answer(APPROVE, Answer(body={"activity": {"system_comment": "1 approval is missing."}}))
    platform.answer(GET_VERSION, version(stage))

    shown = run("approve", "fraud", "3", "Production")

    assert shown.exit_code == code
    assert ("1 approval is missing." in shown.stdout) == (code == 6)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(body={"model_version": {"version": "3"}}), 0),
        (Answer(body={"model_version": {"version": "2"}}), 6),
        (error(400, "INVALID_PARAMETER_VALUE", "Registered model alias champion not found."), 6),
    ],
)
def test_approve_of_an_alias_looks_where_it_points(platform: Platform, run: Run, answer: Answer, code: int) -> None:
    platform.answer(APPROVE, Answer())
    platform.answer(GET_VERSION, version("None"))
    platform.answer(GET_ALIAS, answer)

    assert run("approve", "fraud", "3", "@champion").exit_code == code
    assert platform.asked("registered-models/alias")[0].given == {"name": "fraud", "alias": "champion"}


def test_reject(platform: Platform, run: Run) -> None:
    platform.answer("POST transition-requests/reject", Answer())

    assert run("reject", "fraud", "3", "Production").exit_code == 0


def test_cancel_finds_the_one_request_that_can_be_meant(platform: Platform, run: Run) -> None:
    platform.answer("DELETE transition-requests/delete", Answer())
    platform.answer(LIST, requests("Staging", "Production"))
    assert run("cancel", "fraud", "3", "production").exit_code == 0
    assert platform.calls[-1].given == {"name": "fraud", "version": "3", "stage": "production", "creator": "ann"}

    platform.answer(LIST, requests("Staging"))
    assert run("cancel", "fraud", "3", "Production").exit_code == 5
    platform.answer(LIST, requests("Production", "Production"))
    assert run("cancel", "fraud", "3", "Production").exit_code == 2
    assert run("cancel", "fraud", "3", "Production", "--creator", "bob").exit_code == 0
    assert platform.calls[-1].given["creator"] == "bob"


def test_check_posts_a_state(platform: Platform, run: Run) -> None:
    platform.answer("POST model-versions/checks/set", Answer(body={"check": {}}))

    assert run("check", "fraud", "3", "bias", "--state", "passed", "--url", "http://ci/1").exit_code == 0
    assert platform.calls[0].given == {
        "name": "fraud", "version": "3", "check": "bias", "state": "PASSED", "url": "http://ci/1"
    }  # fmt: skip
    assert run("check", "fraud", "3", "bias", "--state", "fine").exit_code == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"allowed": True, "approvals": 1, "approvals_required": 1}, 0),
        ({"allowed": False, "missing": ["1 approval"], "approvals": 1, "approvals_required": 2}, 6),
        ({"missing": ["check bias"], "approvals": 2, "approvals_required": 2}, 3),
    ],
)
def test_evaluate_tells_what_is_missing(platform: Platform, run: Run, answer: dict[str, Any], code: int) -> None:
    platform.answer("GET promotion-policies/evaluate", Answer(body=answer))

    shown = run("evaluate", "fraud", "3", "Production")

    assert shown.exit_code == code
    for sentence in answer.get("missing", ()):
        assert f"- {sentence}\n" in shown.stdout
    assert json.loads(run("evaluate", "fraud", "3", "Production", "--json").stdout) == answer


def test_history_goes_through_the_pages_up_to_the_limit(platform: Platform, run: Run) -> None:
    entry = {
        "activity_type": "APPLIED_TRANSITION",
        "user_id": "ann",
        "creation_timestamp": 0,
        "comment": "[red]\x1b[31m",
    }
    pages = [
        Answer(body={"activities": [entry] * 100, "next_page_token": "two"}),
        Answer(body={"activities": [entry] * 20}),
    ]
    platform.answer("GET activities/list", *pages)

    shown = run("history", "fraud", "3", "--limit", "120", "--json")

    assert len(json.loads(shown.stdout)["activities"]) == 120
    assert [call.given.get("page_token") for call in platform.calls] == [None, "two"]
    assert [call.given["max_results"] for call in platform.calls] == ["100", "20"]
    platform.answer("GET activities/list", Answer(body={"activities": [entry]}))
    people = run("history", "fraud").stdout
    assert "applied transition" in people
    assert "[red]�[31m" in people


def test_show_a_model_and_a_version(platform: Platform, run: Run) -> None:
    model = {
        "name": "fraud",
        "aliases": [{"alias": "champion", "version": "3"}],
        "latest_versions": [{"current_stage": "Production", "version": "2"}],
    }
    platform.answer("GET registered-models/get", Answer(body={"registered_model": model}))
    platform.answer(GET_VERSION, version("Staging", aliases=["champion"]))
    platform.answer("GET model-versions/checks/list", Answer(body={"checks": [{"check": "bias", "state": "PASSED"}]}))
    platform.answer(LIST, requests("Production"))

    shown = run("show", "fraud").stdout
    assert [line.split() for line in shown.splitlines()[1:]] == [["fraud@champion", "3"], ["fraud/Production", "2"]]
    shown = run("show", "fraud", "3").stdout
    assert all(word in shown for word in ("Staging", "champion", "check bias", "passed", "request of ann"))
    assert set(json.loads(run("show", "fraud", "3", "--json").stdout)) == {"model_version", "checks", "requests"}


def test_policies(platform: Platform, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("stages: [dev]\n")
    policy = {"revision": 2, "policy_yaml": "stages: [dev]\n", "set_by": "ann", "set_timestamp": 0}
    platform.answer("GET promotion-policies/get", Answer(body={"policy": policy}))
    platform.answer(SET_POLICY, Answer(body={"policy": policy}))

    assert run("policy", "get", "--name", "fraud").stdout == "# revision 2, ann\nstages: [dev]\n"
    shown = run("policy", "set", str(file), "--name", "fraud", "--if-revision", "1")

    assert shown.stdout == "Set revision 2 of the policy of fraud.\n"
    assert platform.calls[-1].given == {"name": "fraud", "policy_yaml": "stages: [dev]\n", "if_revision": 1}
    run("policy", "set", str(file))
    assert platform.calls[-1].given == {"policy_yaml": "stages: [dev]\n"}


def test_a_policy_is_validated_and_not_set(platform: Platform, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("stages: [dev]\n")
    platform.answer(VALIDATE_POLICY, Answer(body={}))
    assert run("policy", "validate", str(file), "--name", "fraud").exit_code == 0
    assert platform.calls[-1].given == {"name": "fraud", "policy_yaml": "stages: [dev]\n"}

    platform.answer(VALIDATE_POLICY, error(400, "INVALID_PARAMETER_VALUE", "line 1: stages"))
    shown = run("policy", "validate", str(file))
    assert (shown.exit_code, shown.stderr) == (1, "line 1: stages\n")
    file.write_text("#" * 70_000)
    assert run("policy", "validate", str(file)).exit_code == 2


@pytest.mark.parametrize("name", ["release.yaml", "release.json"])
def test_a_release_is_sent_as_one(platform: Platform, run: Run, tmp_path: Path, name: str) -> None:
    moves = [{"name": "fraud", "version": 3, "stage": "Production", "archive_existing_versions": True}]
    file = tmp_path / name
    file.write_text(json.dumps({"moves": moves, "comment": "spring"}))
    platform.answer(RELEASE, Answer(body={"model_versions": []}))

    shown = run("release", str(file), "--move", "spam/7=@champion")

    assert shown.exit_code == 0
    assert platform.calls[0].given == {
        "moves": [
            {"name": "fraud", "version": "3", "stage": "Production", "archive_existing_versions": True},
            {"name": "spam", "version": "7", "stage": "@champion"},
        ],
        "comment": "spring",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read"),
        ("x: 1", "no list `moves`"),
        ("- 1", "moves[0] is not a mapping"),
        ("- {name: a, version: 1}", "moves[0] has no 'stage'"),
        ("- {name: a, version: 1, stage: b, if: 1}", "unknown field 'if'"),
        ("[]", "this one has 0"),
    ],
)
def test_a_malformed_release_is_explained(
    platform: Platform, run: Run, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "release.yaml"
    file.write_text(content)

    shown = run("release", str(file))

    assert shown.exit_code == 2
    assert said in shown.stderr
    assert platform.calls == []
    assert run("release", "--move", "fraud=Production").exit_code == 2


def test_wait_ends_when_the_version_is_there(platform: Platform, run: Run) -> None:
    platform.answer(
        GET_VERSION,
        version("Staging"),
        version("Staging"),
        error(503, "x", "away", Retry_After="0"),
        version("Production"),
    )
    platform.answer(LIST, requests("Production"))

    assert run("wait", "fraud", "3", "Production", "--every", "0.1").exit_code == 0


def test_wait_ends_when_the_request_is_gone(platform: Platform, run: Run) -> None:
    platform.answer(GET_VERSION, version("Staging"))
    platform.answer(LIST, requests("Production"), requests("Archived"))

    shown = run("wait", "fraud", "3", "Production", "--every", "0.1")

    assert shown.exit_code == 3
    assert "rejected or cancelled" in shown.stderr


def test_wait_gives_up(platform: Platform, run: Run) -> None:
    platform.answer(GET_VERSION, version("Staging"))
    platform.answer(LIST, requests())
    arguments = ("wait", "fraud", "3", "Production", "--every", "0.1", "--timeout", "0.3")
    assert run(*arguments).exit_code == 6

    platform.answer(GET_VERSION, error(503, "TEMPORARILY_UNAVAILABLE", "away", Retry_After="0"))
    assert run(*arguments).exit_code == 7
    platform.answer(GET_VERSION, version("None", status="FAILED_REGISTRATION", status_message="no files"))
    shown = run(*arguments)
    assert (shown.exit_code, "no files" in shown.stderr) == (1, True)
    platform.answer(GET_VERSION, error(404, "RESOURCE_DOES_NOT_EXIST", "gone"))
    assert run(*arguments).exit_code == 5


def test_credentials_are_mlflows(platform: Platform, run: Run, tmp_path: Path) -> None:
    platform.answer("GET registered-models/get", Answer(body={"registered_model": {"name": "fraud"}}))
    file = tmp_path / "key"
    file.write_text("from-file\n")
    basic = f"Basic {base64.b64encode(b'ann:pw').decode()}"
    token, user = {"MLFLOW_TRACKING_TOKEN": "t"}, {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "pw"}

    for environ in ({}, token, {**token, **user}):
        assert run("show", "fraud", **environ).exit_code == 0
    run("show", "fraud", "--token-file", str(file), **token, **user)
    run("show", "fraud", "--uri", platform.url.replace("//", "//ann:pw@") + "/")

    sent = [call.authorization for call in platform.calls]
    assert sent == [None, "Bearer t", basic, "Bearer from-file", basic]
    assert run("show", "fraud", "--token-file", str(tmp_path / "none")).exit_code == 2


@pytest.mark.parametrize("uri", ["", "databricks", "file:///tmp", "sqlite:///secret.db"])
def test_a_wrong_address_is_a_wrong_usage(run: Run, uri: str) -> None:
    shown = run("show", "fraud", MLFLOW_TRACKING_URI=uri)

    assert shown.exit_code == 2
    assert "MLFLOW_TRACKING_URI" in shown.stderr
    assert "secret" not in shown.stderr


def test_as_a_process(platform: Platform) -> None:
    platform.answer(MOVE, REFUSED)
    command = [sys.executable, "-c", "from modelstead.cli import main; main()", "model"]
    environ = {**os.environ, "MLFLOW_TRACKING_URI": platform.url}

    shown = subprocess.run(
        [*command, "promote", "fraud", "3", "Production"],
        capture_output=True, text=True, check=False, env=environ, timeout=120,
    )  # fmt: skip

    assert (shown.returncode, shown.stdout, shown.stderr) == (3, "", "1 of 2 approvals is missing.\n")


def test_the_commands_load_neither_grpc_nor_a_http_library() -> None:
    names = ("grpc", "requests", "httpx", "mlflow")
    code = f"import sys, modelstead.cli; print([name for name in {names} if name in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert shown.stdout == "[]\n"
