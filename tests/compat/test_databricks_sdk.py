"""The stock client of Databricks drives the governance of the registry against the gateway, and nothing else."""

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied
from databricks.sdk.service import ml

from services.common.auth import AuthKind
from tests.stack import Stack

Client = Callable[[str], WorkspaceClient]
Level = ml.RegisteredModelPermissionLevel
SOURCE = "s3://bucket/model"


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A platform on which callers are who they say they are, and may read what they were not granted."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODELSTEAD_DEFAULT_PERMISSION", "READ")
        with Stack(tmp_path_factory.mktemp("governed"), auth=AuthKind.DEV) as stack:
            yield stack


@pytest.fixture(scope="module")
def client(governed: Stack) -> Client:
    """The client of a caller, given as `name` or `name:group,group`."""

    def connect(caller: str) -> WorkspaceClient:
        return WorkspaceClient(host=governed.url, token=caller, auth_type="pat")

    return connect


@pytest.fixture
def alice(client: Client) -> WorkspaceClient:
    return client("alice")


@pytest.fixture
def bob(client: Client) -> WorkspaceClient:
    return client("bob:leads")


@pytest.fixture
def admin(client: Client) -> WorkspaceClient:
    return client("root:admins")


@pytest.fixture
def name(alice: WorkspaceClient) -> str:
    """A model of Alice's with one version."""
    name = uuid.uuid4().hex
    alice.model_registry.create_model(name, tags=[ml.ModelTag(key="team", value="a")], description="text")
    alice.model_registry.create_model_version(name, SOURCE)
    return name


def _id(client: WorkspaceClient, name: str) -> str:
    found = client.model_registry.get_model(name).registered_model_databricks
    assert found
    assert found.id
    return found.id


def _user(name: str, level: ml.RegisteredModelPermissionLevel) -> ml.RegisteredModelAccessControlRequest:
    return ml.RegisteredModelAccessControlRequest(user_name=name, permission_level=level)


def _held(permissions: ml.RegisteredModelPermissions) -> dict[str, list[tuple[str, bool | None]]]:
    return {
        str(line.user_name or line.group_name or line.service_principal_name): [
            (permission.permission_level.value, permission.inherited)
            for permission in line.all_permissions or ()
            if permission.permission_level
        ]
        for line in permissions.access_control_list or ()
    }


def test_it_connects_without_a_warning(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        client("alice").model_registry.list_models(max_results=1)

    # Threads that other tests of this process left may have something to say as well.
    assert [record for record in caplog.records if record.name.startswith("databricks")] == []


def test_a_model_tells_what_the_caller_may_do(
    name: str, alice: WorkspaceClient, bob: WorkspaceClient, admin: WorkspaceClient
) -> None:
    models = [client.model_registry.get_model(name).registered_model_databricks for client in (alice, bob, admin)]

    assert all(models)
    assert [model.permission_level.value for model in models if model and model.permission_level] == [
        "CAN_MANAGE", "CAN_READ", "CAN_MANAGE",
    ]  # fmt: skip
    (mine, *_) = models
    assert mine
    assert (mine.name, mine.user_id, mine.description) == (name, "alice", "text")
    assert [(tag.key, tag.value) for tag in mine.tags or ()] == [("team", "a")]
    assert [version.version for version in mine.latest_versions or ()] == ["1"]


def test_rights_are_granted_used_and_taken(name: str, alice: WorkspaceClient, bob: WorkspaceClient) -> None:
    id_ = _id(alice, name)
    with pytest.raises(PermissionDenied):
        bob.model_registry.update_model(name, description="bob's")

    granted = alice.model_registry.update_permissions(id_, access_control_list=[_user("bob", Level.CAN_EDIT)])
    bob.model_registry.update_model(name, description="bob's")
    with pytest.raises(PermissionDenied):
        bob.model_registry.delete_model(name)
    replaced = alice.model_registry.set_permissions(id_, access_control_list=[_user("alice", Level.CAN_MANAGE)])

    with pytest.raises(PermissionDenied):
        bob.model_registry.update_model(name, description="again")
    mine, admins = {"alice": [("CAN_MANAGE", False)]}, {"admins": [("CAN_MANAGE", True)]}
    assert _held(granted) == {**mine, "bob": [("CAN_EDIT", False)], **admins}
    assert _held(replaced) == {**mine, **admins}
    assert (replaced.object_type, replaced.object_id) == ("registered-model", f"/registered-models/{id_}")
    assert alice.model_registry.get_permissions(id_) == replaced
    assert bob.model_registry.get_permissions(id_) == replaced


def test_a_group_is_granted_to_its_members(name: str, client: Client, alice: WorkspaceClient) -> None:
    leads = ml.RegisteredModelAccessControlRequest(
        group_name="leads", permission_level=Level.CAN_MANAGE_STAGING_VERSIONS
    )
    alice.model_registry.update_permissions(_id(alice, name), access_control_list=[leads])

    client("eve:others,leads").model_registry.set_model_tag(name, "k", "v")
    with pytest.raises(PermissionDenied):
        client("eve:others").model_registry.set_model_tag(name, "k", "w")


def test_permissions_are_refused_as_they_should_be(
    name: str, alice: WorkspaceClient, bob: WorkspaceClient, admin: WorkspaceClient
) -> None:
    id_ = _id(alice, name)

    with pytest.raises(PermissionDenied):
        bob.model_registry.set_permissions(id_, access_control_list=[_user("bob", Level.CAN_MANAGE)])
    with pytest.raises(InvalidParameterValue, match="leaves nobody with CAN_MANAGE"):
        alice.model_registry.set_permissions(id_)
    with pytest.raises(NotFound):
        alice.model_registry.get_permissions("0" * 32)
    assert _held(admin.model_registry.set_permissions(id_)) == {"admins": [("CAN_MANAGE", True)]}


def test_levels_are_listed_lowest_first(name: str, alice: WorkspaceClient) -> None:
    levels = alice.model_registry.get_permission_levels(_id(alice, name)).permission_levels or []

    assert [level.permission_level.value for level in levels if level.permission_level] == [
        "CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS", "CAN_MANAGE",
    ]  # fmt: skip
    assert all(level.description for level in levels)


def test_permissions_survive_a_rename(name: str, alice: WorkspaceClient, bob: WorkspaceClient) -> None:
    alice.model_registry.update_permissions(_id(alice, name), access_control_list=[_user("bob", Level.CAN_EDIT)])
    renamed = uuid.uuid4().hex

    alice.model_registry.rename_model(name, new_name=renamed)

    bob.model_registry.update_model(renamed, description="bob's")


def test_a_missing_model_is_not_found(bob: WorkspaceClient) -> None:
    missing = uuid.uuid4().hex

    for use in (bob.model_registry.get_model, bob.model_registry.delete_model):
        with pytest.raises(NotFound, match=f"Registered Model with name={missing} not found"):
            use(missing)


def test_deletions_without_a_body_are_understood(name: str, alice: WorkspaceClient) -> None:
    registry = alice.model_registry
    registry.set_model_version_tag(name, "1", "k", "v")

    registry.delete_model_version_tag(name, "1", "k")
    registry.delete_model_tag(name, "team")
    registry.delete_model_version(name, "1")

    assert not list(registry.search_model_versions(filter=f"name = '{name}'"))
    found = registry.get_model(name).registered_model_databricks
    assert found
    assert not found.tags
    registry.delete_model(name)
    with pytest.raises(NotFound):
        registry.get_model(name)


def test_comments_are_made_changed_and_deleted(
    name: str, alice: WorkspaceClient, bob: WorkspaceClient, admin: WorkspaceClient
) -> None:
    made = bob.model_registry.create_comment(name, "1", "good").comment
    assert made
    assert made.id
    assert [action.value for action in made.available_actions or ()] == ["EDIT_COMMENT", "DELETE_COMMENT"]

    with pytest.raises(PermissionDenied):
        alice.model_registry.update_comment(made.id, "bad")
    changed = bob.model_registry.update_comment(made.id, "better").comment
    assert changed
    assert (changed.id, changed.user_id, changed.comment) == (made.id, "bob", "better")
    # Alice manages the model.
    alice.model_registry.delete_comment(made.id)

    with pytest.raises(NotFound):
        bob.model_registry.delete_comment(made.id)
    with pytest.raises(NotFound):
        admin.model_registry.update_comment(made.id, "gone")


def test_comments_activities_audit_and_the_past_are_read_over_rest(
    name: str, alice: WorkspaceClient, bob: WorkspaceClient, admin: WorkspaceClient
) -> None:
    bob.model_registry.create_comment(name, "1", "good")
    alice.model_registry.transition_stage(name, "1", "Staging", archive_existing_versions=False)
    alice.model_registry.update_model(name, description="newer")

    comments = _get(alice, "comments/list", name=name, version="1")["comments"]
    activities = _get(bob, "activities/list", name=name)["activities"]
    page = _get(admin, "audit/list", name=name, max_results="2")
    rest = _get(admin, "audit/list", name=name, page_token=page["next_page_token"])
    past = _get(bob, "registered-models/as-of", name=name, revision="2")

    assert [(comment["comment"], comment["user_id"]) for comment in comments] == [("good", "bob")]
    assert [(activity["activity_type"], activity["version"]) for activity in activities] == [
        ("APPLIED_TRANSITION", "1"), ("NEW_COMMENT", "1"),
    ]  # fmt: skip
    assert (activities[0]["from_stage"], activities[0]["to_stage"]) == ("None", "Staging")
    assert [event["revision"] for event in page["events"] + rest["events"]] == [5, 4, 3, 2, 1]
    assert page["events"][0]["changes"] == [{"field": "description", "before": "text", "after": "newer"}]
    assert past["registered_model"]["description"] == "text"
    assert [(version["version"], version["current_stage"]) for version in past["model_versions"]] == [("1", "None")]
    assert past["revision"] == 2
    with pytest.raises(PermissionDenied):
        _get(bob, "audit/list", name=name)
    with pytest.raises(PermissionDenied):
        _get(bob, "audit/list")


def _get(client: WorkspaceClient, path: str, **query: str) -> dict[str, Any]:
    answer: Any = client.api_client.do("GET", f"/api/2.0/mlflow/{path}", query=query)
    assert isinstance(answer, dict)
    return answer


def test_runs_are_deleted_and_restored_by_time(alice: WorkspaceClient) -> None:
    experiments = alice.experiments
    experiment_id = experiments.create_experiment(uuid.uuid4().hex).experiment_id
    assert experiment_id
    for start_time in (10, 20, 30):
        experiments.create_run(experiment_id=experiment_id, start_time=start_time)

    deleted = experiments.delete_runs(experiment_id, max_timestamp_millis=20)
    left = list(experiments.search_runs(experiment_ids=[experiment_id]))
    restored = experiments.restore_runs(experiment_id, min_timestamp_millis=0, max_runs=1)

    assert (deleted.runs_deleted, len(left), restored.runs_restored) == (2, 1, 1)
    assert len(list(experiments.search_runs(experiment_ids=[experiment_id]))) == 2
    with pytest.raises(InvalidParameterValue, match="max_runs"):
        experiments.delete_runs(experiment_id, max_timestamp_millis=20, max_runs=10_001)
    with pytest.raises(NotFound):
        experiments.restore_runs("987654321", min_timestamp_millis=0)


def test_permissions_of_experiments_are_kept_and_told(alice: WorkspaceClient) -> None:
    experiments = alice.experiments
    experiment_id = experiments.create_experiment(uuid.uuid4().hex).experiment_id
    assert experiment_id
    bob = ml.ExperimentAccessControlRequest(user_name="bob", permission_level=ml.ExperimentPermissionLevel.CAN_EDIT)

    updated = experiments.update_permissions(experiment_id, access_control_list=[bob])
    replaced = experiments.set_permissions(experiment_id, access_control_list=[bob])

    assert [line.user_name for line in updated.access_control_list or ()] == ["alice", "bob"]
    assert [line.user_name for line in replaced.access_control_list or ()] == ["bob"]
    assert (replaced.object_type, replaced.object_id) == ("mlflowExperiment", f"/experiments/{experiment_id}")
    assert experiments.get_permissions(experiment_id) == replaced
    levels = experiments.get_permission_levels(experiment_id).permission_levels or []
    assert [level.permission_level.value for level in levels if level.permission_level] == [
        "CAN_READ", "CAN_EDIT", "CAN_MANAGE",
    ]  # fmt: skip
