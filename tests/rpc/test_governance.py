"""Governance through the gateway on the real platform, with callers who are whom they say they are (auth=dev): plain
REST, the stock mlflow client, and the stock databricks-sdk client.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.service.ml import ActivityAction, ActivityType
from mlflow import MlflowClient
from mlflow.exceptions import RestException

from services.common.auth import AuthKind
from tests.compat.rest import API, Json, Refusal, refusal
from tests.stack import Stack

POLICY = """
rules:
  Production: {approvals: 1, approvers: {groups: [leads]}, checks: [{name: tests, posted_by: {users: [ci]}}]}
aliases:
  champion: {approvals: 1, approvers: {groups: [leads]}}
request_expires: 7d
owners: {users: [ann]}
"""
SOURCE = "s3://bucket/model"


@dataclass(frozen=True)
class Platform:
    """A platform to which anybody can speak as anybody, written `name:groups`."""

    url: str

    def call(self, method: str, path: str, *, caller: str, body: Json) -> httpx.Response:
        given = {"params": body} if method == "GET" else {"json": body}
        headers = {"Authorization": f"Bearer {caller}"}
        return httpx.request(method, f"{self.url}{API}{path}", headers=headers, timeout=60, **given)  # type: ignore[arg-type]

    def get(self, path: str, *, caller: str = "ann", **body: Any) -> Json:
        return _granted(self.call("GET", path, caller=caller, body=body))

    def post(self, path: str, *, caller: str = "ann", **body: Any) -> Json:
        return _granted(self.call("POST", path, caller=caller, body=body))

    def refused_post(self, path: str, *, caller: str = "ann", **body: Any) -> Refusal:
        return refusal(self.call("POST", path, caller=caller, body=body))

    def sdk(self, caller: str) -> Any:
        return WorkspaceClient(host=self.url, token=caller, auth_type="pat").model_registry


def _granted(response: httpx.Response) -> Json:
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Stack(tmp_path_factory.mktemp("governance"), auth=AuthKind.DEV) as stack:
        yield Platform(stack.url)


@pytest.fixture
def name(platform: Platform) -> str:
    """A model of two versions under the policy, of which the first has passed its tests."""
    name = uuid.uuid4().hex
    platform.post("registered-models/create", name=name)
    for _ in range(2):
        platform.post("model-versions/create", name=name, source=SOURCE)
    platform.post("promotion-policies/set", name=name, policy_yaml=POLICY)
    platform.post("model-versions/checks/set", caller="ci", name=name, version="1", check="tests", state="PASSED")
    return name


def _mlflow(platform: Platform, caller: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", caller)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowClient(tracking_uri=platform.url, registry_uri=platform.url)


@pytest.mark.filterwarnings("ignore:.*transition_model_version_stage.*:FutureWarning")
def test_the_stock_mlflow_client_is_told_what_is_missing(
    platform: Platform, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _mlflow(platform, "bob", monkeypatch)

    with pytest.raises(RestException) as raised:
        client.transition_model_version_stage(name, "2", "Production")
    with pytest.raises(RestException, match="pointing alias champion at version 2: it has 0 of 1 approval"):
        client.set_registered_model_alias(name, "champion", "2")
    with pytest.raises(RestException, match="renaming the model: it needs user ann"):
        client.rename_registered_model(name, uuid.uuid4().hex)

    assert raised.value.error_code == "PERMISSION_DENIED"
    assert str(raised.value) == (
        f"PERMISSION_DENIED: The promotion policy of model {name} refuses moving version 2 from None to Production: "
        "check tests is not posted; it has 0 of 1 approval by group leads."
    )
    assert client.transition_model_version_stage(name, "2", "Staging").current_stage == "Staging"


def test_the_stock_databricks_client_asks_approves_and_lists(platform: Platform, name: str) -> None:
    bob, lea = platform.sdk("bob"), platform.sdk("lea:leads")

    asked = bob.create_transition_request(name, "1", "Production", comment="please").request
    assert (asked.user_id, asked.to_stage, asked.comment) == ("bob", "Production", "please")
    assert ActivityAction.APPROVE_TRANSITION_REQUEST not in asked.available_actions
    assert ActivityAction.CANCEL_TRANSITION_REQUEST in asked.available_actions
    (listed,) = bob.list_transition_requests(name, "1")
    assert (listed.activity_type, listed.user_id, listed.to_stage) == (
        ActivityType.REQUESTED_TRANSITION, "bob", "Production",
    )  # fmt: skip
    with pytest.raises(PermissionDenied, match="it needs group leads"):
        bob.approve_transition_request(name, "1", "Production", False)

    approval = lea.approve_transition_request(name, "1", "Production", True, comment="fine").activity

    assert approval.activity_type is ActivityType.APPROVED_REQUEST
    assert (approval.user_id, approval.from_stage, approval.to_stage, approval.comment) == (
        "lea", "None", "Production", "fine",
    )  # fmt: skip
    assert list(bob.list_transition_requests(name, "1")) == []
    assert platform.get("model-versions/get", name=name, version="1")["model_version"]["current_stage"] == "Production"


def test_the_stock_databricks_client_rejects_cancels_and_moves(platform: Platform, name: str) -> None:
    bob, lea = platform.sdk("bob"), platform.sdk("lea:leads")
    bob.create_transition_request(name, "1", "Production")
    rejected = lea.reject_transition_request(name, "1", "Production", comment="no").activity
    bob.create_transition_request(name, "1", "Production")
    cancelled = bob.delete_transition_request(name, "1", "Production", "bob").activity
    bob.create_transition_request(name, "1", "Production")

    moved = lea.transition_stage(name, "1", "production", False, comment="go").model_version_databricks

    assert rejected.activity_type is ActivityType.REJECTED_REQUEST
    assert cancelled.activity_type is ActivityType.CANCELLED_REQUEST
    assert (moved.name, moved.version, moved.current_stage, moved.open_requests) == (name, "1", "Production", [])
    assert moved.permission_level.value.startswith("CAN_MANAGE")


def test_an_alias_is_asked_for_as_a_stage_is(platform: Platform, name: str) -> None:
    key = {"name": name, "version": "2", "stage": "@champion"}
    asked = platform.post("transition-requests/create", caller="bob", **key)["request"]
    assert asked.pop("creation_timestamp") > 0
    assert asked == {
        "user_id": "bob", "to_stage": "@champion", "id": asked["id"],
        "available_actions": ["CANCEL_TRANSITION_REQUEST"],
    }  # fmt: skip

    body = {**key, "archive_existing_versions": False}
    activity = platform.post("transition-requests/approve", caller="lea:leads", **body)["activity"]

    assert (activity["activity_type"], activity["to_stage"], activity["version"]) == (
        "APPROVED_REQUEST", "@champion", "2",
    )  # fmt: skip
    assert platform.get("registered-models/alias", name=name, alias="champion")["model_version"]["version"] == "2"


def test_what_is_expected_and_not_found_is_a_conflict(platform: Platform, name: str) -> None:
    move = {"name": name, "version": "1", "stage": "Staging"}

    assert platform.refused_post("model-versions/transition-stage", **move, if_stage="Production") == Refusal(
        409,
        "RESOURCE_CONFLICT",
        f"Model Version (name={name}, version=1) is in stage None, not in 'Production' as if_stage expects.",
    )
    platform.post("model-versions/transition-stage", **move, if_stage="none", if_version="")
    other = {**move, "version": "2", "archive_existing_versions": True}
    for path in ("model-versions/transition-stage", "databricks/model-versions/transition-stage"):
        assert platform.refused_post(path, **other, if_version="") == Refusal(
            409, "RESOURCE_CONFLICT",
            f"Stage Staging of model {name} has version 1, not no version as if_version expects.",
        )  # fmt: skip
    platform.post("databricks/model-versions/transition-stage", **other, if_version="1")
    alias = {"name": name, "alias": "blue", "version": "1"}
    platform.post("registered-models/alias", **alias, if_version="")
    assert platform.refused_post("registered-models/alias", **alias, if_version="2").status == 409
    del alias["version"]
    gone = platform.call("DELETE", "registered-models/alias", caller="ann", body={**alias, "if_version": "2"})
    assert refusal(gone).message == f"Alias blue of model {name} has version 1, not version 2 as if_version expects."


def test_a_policy_is_judged_and_not_set(platform: Platform, name: str) -> None:
    before = platform.get("promotion-policies/get", name=name)

    assert platform.post("promotion-policies/validate", name=name, policy_yaml="stages: [dev]") == {}
    wrong = platform.refused_post("promotion-policies/validate", policy_yaml="stages: [a b]")
    nowhere = platform.refused_post("promotion-policies/validate", name="nowhere", policy_yaml="stages: [dev]")
    negative = platform.refused_post("promotion-policies/set", name=name, policy_yaml=POLICY, if_revision=-1)

    assert (wrong.status, wrong.message[:29]) == (400, "Invalid policy_yaml, line 1: ")
    assert (nowhere.status, nowhere.error_code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert negative == Refusal(
        400, "INVALID_PARAMETER_VALUE", "Invalid value -1 for parameter 'if_revision' supplied: it must be at least 0."
    )
    assert platform.get("promotion-policies/get", name=name) == before


def test_policies_are_set_read_and_listed(platform: Platform, name: str) -> None:
    changed = POLICY + "archive: Archived\n"
    key = {"name": name}
    assert platform.refused_post("promotion-policies/set", caller="bob", **key, policy_yaml=changed).status == 403
    assert platform.refused_post("promotion-policies/set", **key, policy_yaml="stages: [a b]") == Refusal(
        400, "INVALID_PARAMETER_VALUE",
        "Invalid policy_yaml, line 1: stages[0]: 'a b' cannot name a stage: a letter, then letters, digits and _ . -, "
        "at most 64; not None, where every version begins, and not latest",
    )  # fmt: skip

    made = platform.post("promotion-policies/set", **key, policy_yaml=changed, if_revision=1)["policy"]

    assert made["set_timestamp"] > 0
    assert made == {
        "name": name, "revision": 2, "policy_yaml": changed, "set_by": "ann", "set_timestamp": made["set_timestamp"],
    }  # fmt: skip
    assert platform.get("promotion-policies/get", **key)["policy"] == made
    stale = platform.refused_post("promotion-policies/set", **key, policy_yaml=changed, if_revision=1)
    assert (stale.status, stale.error_code) == (409, "RESOURCE_CONFLICT")
    listed = platform.get("promotion-policies/list-revisions", **key, max_results=1)
    assert [policy["revision"] for policy in listed["policies"]] == [2]
    rest = platform.get("promotion-policies/list-revisions", **key, max_results=1, page_token=listed["next_page_token"])
    assert [policy["revision"] for policy in rest["policies"]] == [1]
    assert "next_page_token" not in rest
    assert platform.call("DELETE", "promotion-policies/delete", caller="ann", body=key).json() == {}
    assert platform.call("GET", "promotion-policies/get", caller="ann", body=key).status_code == 404


def test_evaluate_tells_the_caller_what_is_missing(platform: Platform, name: str) -> None:
    asked = {"name": name, "version": "2", "stage": "Production"}

    assert platform.get("promotion-policies/evaluate", caller="bob", **asked) == {
        "allowed": False,
        "missing": ["check tests is not posted", "it has 0 of 1 approval by group leads"],
        "approvals": 0,
        "approvals_required": 1,
    }


def test_checks_are_posted_and_listed(platform: Platform, name: str) -> None:
    key = {"name": name, "version": "2"}
    posted = platform.post(
        "model-versions/checks/set", caller="bob", **key, check="bias", state="FAILED", url="https://ci/1",
        description="worse for some",
    )["check"]  # fmt: skip

    assert posted.pop("last_updated_timestamp") > 0
    assert posted == {
        "check": "bias", "state": "FAILED", "url": "https://ci/1", "description": "worse for some", "user_id": "bob",
    }  # fmt: skip
    listed = platform.get("model-versions/checks/list", **key)["checks"]
    assert [(check["check"], check["state"]) for check in listed] == [("bias", "FAILED")]
    for wrong in ({"check": "a;b"}, {"url": "file:///etc/passwd"}, {"state": "STATE_UNSPECIFIED"}, {"state": "GREEN"}):
        body = {**key, "check": "bias", "state": "PASSED", **wrong}
        assert platform.refused_post("model-versions/checks/set", caller="bob", **body).status == 400
    tests = {**key, "check": "tests", "state": "PASSED"}
    assert platform.refused_post("model-versions/checks/set", caller="bob", **tests).message == (
        f"The promotion policy of model {name} refuses posting check tests: it needs user ci."
    )


def test_a_release_moves_several_models_or_none(platform: Platform, name: str) -> None:
    other = uuid.uuid4().hex
    platform.post("registered-models/create", name=other)
    platform.post("model-versions/create", name=other, source=SOURCE)
    moves = [
        {"name": other, "version": "1", "stage": "Production", "if_version": ""},
        {"name": name, "version": "1", "stage": "Production", "archive_existing_versions": True},
    ]

    denied = platform.refused_post("releases/create", caller="bob", moves=moves)
    platform.post("transition-requests/create", caller="bob", name=name, version="1", stage="Production")
    made = platform.post("releases/create", caller="lea:leads", moves=moves, comment="train 7")
    again = platform.refused_post("releases/create", caller="lea:leads", moves=moves)

    assert denied == Refusal(
        403, "PERMISSION_DENIED",
        f"The promotion policy of model {name} refuses moving version 1 from None to Production: it has 0 of 1 "
        "approval by group leads.",
    )  # fmt: skip
    assert [(one["name"], one["current_stage"]) for one in made["model_versions"]] == [
        (other, "Production"), (name, "Production"),
    ]  # fmt: skip
    assert again.error_code == "RESOURCE_CONFLICT"
    assert platform.refused_post("releases/create", moves=[]).status == 400
