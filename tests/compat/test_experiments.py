"""Experiments: what create, get, update, delete and restore do, and their tags."""

from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Json, Rest, invalid, not_found

BY_ID = ["experiments/delete", "experiments/restore"]
ODD_NAMES = ["a/b", "a:b.c", "100%", "é☃😀", "<script>", "'quoted'", " leading", "n" * 470]
# In stores that tests/artifact_stores.py allows.
LOCATIONS = ["s3://bucket/path", "gs://bucket", "/mnt/experiments/a", "mlflow-artifacts:/elsewhere", "s3://bucket/a b"]
REFUSED_LOCATIONS = {
    "s3://bucket/path#part": "'artifact_location' URL can't include fragments or params.",
    "s3://bucket?x=..": "Invalid query string",
    "s3://bucket/" + "a" * 2037: (
        "Invalid artifact path length. The length of the artifact path cannot be greater than 2048 characters."
    ),
    "runs:/path": "Artifact location cannot be a runs:/ URI. Given: 'runs:/path'",
}
DISALLOWED_LOCATIONS = [
    *("s3://other/path", "s3://bucket2", "gs://other", "dbfs:/path", "wasbs://models@account.blob.core.windows.net/x"),
    *(
        "/mnt/experiments2",
        "/mnt/experiments/../../etc",
        "/mnt/experiments/%2e%2e/x",
        "/etc",
        "file:///etc",
        "relative",
    ),
    *("s3://bucket/a?x=1", "s3://me@bucket/a", "mlflow-artifacts:/a/../b", "mlflow-artifacts:/a%2Fb"),
]
REFUSED_SCHEMES = ["ftp", "http", "https", "hdfs", "mlflow-artifacts"]
REFUSED_TAGS = {
    "bad character": ({"key": "a$b", "value": "1"}, texts.bad_characters("key", "a$b")),
    "climbing": ({"key": "../a", "value": "1"}, texts.bad_path("key", "../a", "../a")),
    "two dots": ({"key": "..a", "value": "1"}, texts.bad_path("key", "..a", "..a")),
    "absolute": ({"key": "/a", "value": "1"}, texts.bad_path("key", "/a", "/a")),
    "double slash": ({"key": "a//b", "value": "1"}, texts.bad_path("key", "a//b", "a/b")),
    "trailing slash": ({"key": "a/", "value": "1"}, texts.bad_path("key", "a/", "a")),
    "dot slash": ({"key": "./a", "value": "1"}, texts.bad_path("key", "./a", "a")),
    "dot": ({"key": ".", "value": "1"}, texts.bad_path("key", ".", ".")),
    "long key": ({"key": "k" * 251, "value": "1"}, texts.too_long("key", 250)),
    "long value": ({"key": "k", "value": "v" * 20001}, texts.too_long("value", 20000)),
    "trace archival": (
        {"key": "mlflow.trace.archivalRetention", "value": "x"},
        "Trace archival config must be encoded as a JSON object.",
    ),
}
VIEW_TAG = "mlflow.customView.view"


def test_an_experiment_has_these_fields_and_no_others(rest: Rest) -> None:
    name = factories.unique()
    experiment_id = factories.new_experiment(rest, name=name)

    experiment = factories.get_experiment(rest, experiment_id)

    created = experiment["creation_time"]
    assert experiment == {
        "experiment_id": experiment_id,
        "name": name,
        "artifact_location": f"mlflow-artifacts:/{experiment_id}",
        "lifecycle_stage": "active",
        "last_update_time": created,
        "creation_time": created,
        "workspace": "default",
    }
    assert type(created) is int


def test_an_experiment_is_found_by_its_name(rest: Rest) -> None:
    name = factories.unique()
    experiment_id = factories.new_experiment(rest, name=name)

    found = rest.get("experiments/get-by-name", experiment_name=name)

    assert found == rest.get("experiments/get", experiment_id=experiment_id)


def test_the_default_experiment_is_there_from_the_start(rest: Rest) -> None:
    experiment = factories.get_experiment(rest, "0")

    assert experiment["name"] == "Default"
    assert experiment["lifecycle_stage"] == "active"


@pytest.mark.parametrize("path", ["experiments/delete", "experiments/restore"])
def test_an_unknown_experiment_cannot_change_its_life(rest: Rest, path: str) -> None:
    refused = rest.refused_post(path, experiment_id=factories.UNKNOWN_EXPERIMENT)

    assert refused == not_found(texts.no_experiment(factories.UNKNOWN_EXPERIMENT))


def test_an_unknown_experiment_is_not_found(rest: Rest) -> None:
    refused = rest.refused_get("experiments/get", experiment_id=factories.UNKNOWN_EXPERIMENT)

    assert refused == not_found(texts.no_experiment(factories.UNKNOWN_EXPERIMENT))


def test_an_unknown_name_is_not_found(rest: Rest) -> None:
    refused = rest.refused_get("experiments/get-by-name", experiment_name="no such")

    assert refused == not_found("Could not find experiment with name 'no such'")


@pytest.mark.parametrize("experiment_id", ["abc", "1.5", "0x1", "m-1"])
def test_an_experiment_id_is_a_number(rest: Rest, experiment_id: str) -> None:
    refused = rest.refused_get("experiments/get", experiment_id=experiment_id)

    assert refused == invalid(texts.bad_experiment_id(experiment_id))


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: name[:10])
def test_any_text_can_be_a_name(rest: Rest, name: str) -> None:
    name = factories.unique("")[:30] + name

    rest.post("experiments/create", name=name)

    assert rest.get("experiments/get-by-name", experiment_name=name)["experiment"]["name"] == name


@pytest.mark.parametrize("name", [" ", "\t", "\n  "])
def test_a_blank_name_is_refused(rest: Rest, name: str) -> None:
    assert rest.refused_post("experiments/create", name=name) == invalid(f"Invalid experiment name: '{name}'")


def test_a_name_has_at_most_500_characters(rest: Rest, experiment_id: str) -> None:
    too_long = "n" * 501

    assert rest.refused_post("experiments/create", name=too_long) == invalid(texts.too_long("name", 500))
    assert rest.refused_post("experiments/update", experiment_id=experiment_id, new_name=too_long) == invalid(
        texts.too_long("name", 500)
    )


def test_a_taken_name_is_refused(rest: Rest) -> None:
    name = factories.unique()
    factories.new_experiment(rest, name=name)

    refused = rest.refused_post("experiments/create", name=name)

    assert (refused.status, refused.error_code) == (400, "RESOURCE_ALREADY_EXISTS")
    assert refused.message.startswith(f"Experiment(name={name}) already exists.")


@pytest.mark.departure("stock quotes the SQL statement and its parameters to the caller")
def test_the_refusal_of_a_taken_name_tells_nothing_of_the_database(rest: Rest) -> None:
    name = factories.unique()
    factories.new_experiment(rest, name=name)

    refused = rest.refused_post("experiments/create", name=name)

    assert refused.error_code == "RESOURCE_ALREADY_EXISTS"
    assert "INSERT" not in refused.message


def test_the_name_of_a_deleted_experiment_stays_taken(rest: Rest) -> None:
    name = factories.unique()
    rest.post("experiments/delete", experiment_id=factories.new_experiment(rest, name=name))

    refused = rest.refused_post("experiments/create", name=name)

    assert (refused.status, refused.error_code) == (400, "RESOURCE_ALREADY_EXISTS")


@pytest.mark.parametrize("location", LOCATIONS)
def test_an_artifact_location_is_kept_as_given(rest: Rest, location: str) -> None:
    experiment_id = factories.new_experiment(rest, artifact_location=location)

    assert factories.get_experiment(rest, experiment_id)["artifact_location"] == location


def test_an_empty_artifact_location_is_the_default(rest: Rest) -> None:
    experiment_id = factories.new_experiment(rest, artifact_location="")

    assert factories.get_experiment(rest, experiment_id)["artifact_location"] == f"mlflow-artifacts:/{experiment_id}"


@pytest.mark.parametrize("location", REFUSED_LOCATIONS, ids=lambda location: location[:20])
def test_an_artifact_location_that_cannot_work_is_refused(rest: Rest, location: str) -> None:
    refused = rest.refused_post("experiments/create", name=factories.unique(), artifact_location=location)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(REFUSED_LOCATIONS[location])


@pytest.mark.parametrize("scheme", REFUSED_SCHEMES)
def test_an_artifact_location_cannot_name_a_host(rest: Rest, scheme: str) -> None:
    refused = rest.refused_post("experiments/create", name=factories.unique(), artifact_location=f"{scheme}://host/x")

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(f"'artifact_location' cannot use the '{scheme}' scheme")


@pytest.mark.departure("MLflow lets a client choose any store that the server can reach; here the operator allows them")
@pytest.mark.parametrize("location", DISALLOWED_LOCATIONS)
def test_an_artifact_location_that_the_operator_does_not_allow_is_refused(rest: Rest, location: str) -> None:
    refused = rest.refused_post("experiments/create", name=factories.unique(), artifact_location=location)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(f"'artifact_location' {location!r} is in no artifact store that this server's")
    assert "MODELSTEAD_ARTIFACT_STORES" in refused.message


def test_runs_and_models_lie_under_the_artifact_location(rest: Rest) -> None:
    experiment_id = factories.new_experiment(rest, artifact_location="s3://bucket/path")
    run_id = factories.new_run(rest, experiment_id)
    model_id = factories.new_model(rest, experiment_id)

    run = factories.get_run(rest, run_id)
    model = factories.get_model(rest, model_id)

    assert run["info"]["artifact_uri"] == f"s3://bucket/path/{run_id}/artifacts"
    assert model["info"]["artifact_uri"] == f"s3://bucket/path/models/{model_id}/artifacts"


def test_tags_can_be_given_at_creation(rest: Rest) -> None:
    experiment_id = factories.new_experiment(
        rest, tags=[{"key": "a", "value": "1"}, {"key": "empty", "value": ""}, {"key": "valueless"}]
    )

    tags = factories.get_experiment(rest, experiment_id)["tags"]

    assert factories.as_dict(tags) == {"a": "1", "empty": "", "valueless": ""}


@pytest.mark.departure("stock says that the experiment already exists, which it does not")
def test_a_tag_given_twice_at_creation_is_refused(rest: Rest) -> None:
    name = factories.unique()
    tags = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]

    refused = rest.refused_post("experiments/create", name=name, tags=tags)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert rest.refused_get("experiments/get-by-name", experiment_name=name).status == 404


@pytest.mark.parametrize("case", REFUSED_TAGS)
def test_a_tag_is_checked_at_creation(rest: Rest, case: str) -> None:
    tag, message = REFUSED_TAGS[case]
    name = factories.unique()

    assert rest.refused_post("experiments/create", name=name, tags=[tag]) == invalid(message)
    assert rest.refused_get("experiments/get-by-name", experiment_name=name).status == 404


@pytest.mark.parametrize("tag", [{"value": "1"}, {"key": "", "value": "1"}, {"key": None, "value": "1"}], ids=str)
def test_a_tag_needs_a_key_at_creation(rest: Rest, tag: Json) -> None:
    name = factories.unique()

    refused = rest.refused_post("experiments/create", name=name, tags=[tag])

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert "key" in refused.message
    assert rest.refused_get("experiments/get-by-name", experiment_name=name).status == 404


@pytest.mark.parametrize("case", REFUSED_TAGS)
def test_a_tag_is_checked_when_set(rest: Rest, experiment_id: str, case: str) -> None:
    tag, message = REFUSED_TAGS[case]

    refused = rest.refused_post("experiments/set-experiment-tag", experiment_id=experiment_id, **tag)

    assert refused == invalid(message)


@pytest.mark.parametrize("tag", [{"value": "b"}, {"value": ""}, {}, {"value": None}], ids=str)
def test_setting_a_tag_again_replaces_it(rest: Rest, experiment_id: str, tag: Json) -> None:
    rest.post("experiments/set-experiment-tag", experiment_id=experiment_id, key="a", value="first")

    assert rest.post("experiments/set-experiment-tag", experiment_id=experiment_id, key="a", **tag) == {}

    tags = factories.get_experiment(rest, experiment_id)["tags"]
    assert tags == [{"key": "a", "value": tag.get("value") or ""}]


@pytest.mark.parametrize("key", ["a b:c/d-e.f_g", "é", "k" * 250, "mlflow.note.content", "a..b", ".a"])
def test_tag_keys_of_these_characters_are_taken(rest: Rest, experiment_id: str, key: str) -> None:
    rest.post("experiments/set-experiment-tag", experiment_id=experiment_id, key=key, value="v" * 20000)

    assert factories.as_dict(factories.get_experiment(rest, experiment_id)["tags"]) == {key: "v" * 20000}


def test_a_deleted_tag_is_gone(rest: Rest) -> None:
    experiment_id = factories.new_experiment(rest, tags=[{"key": "a", "value": "1"}])

    assert rest.post("experiments/delete-experiment-tag", experiment_id=experiment_id, key="a") == {}

    assert "tags" not in factories.get_experiment(rest, experiment_id)


@pytest.mark.parametrize("key", ["missing", "not$valid"])
def test_deleting_a_tag_that_is_not_there_is_refused(rest: Rest, experiment_id: str, key: str) -> None:
    refused = rest.refused_post("experiments/delete-experiment-tag", experiment_id=experiment_id, key=key)

    assert refused == not_found(f"No tag with name: {key} in experiment with id {experiment_id}")


@pytest.mark.parametrize("path", ["experiments/set-experiment-tag", "experiments/delete-experiment-tag"])
def test_tags_need_an_experiment(rest: Rest, path: str) -> None:
    unknown = rest.refused_post(path, experiment_id=factories.UNKNOWN_EXPERIMENT, key="a")
    no_number = rest.refused_post(path, experiment_id="abc", key="a")

    assert unknown == not_found(texts.no_experiment(factories.UNKNOWN_EXPERIMENT))
    assert no_number == invalid(texts.bad_experiment_id("abc"))


def test_an_experiment_has_at_most_fifty_custom_views(rest: Rest) -> None:
    views = [{"key": f"{VIEW_TAG}{number}", "value": "{}"} for number in range(50)]
    experiment_id = factories.new_experiment(rest, tags=views)

    refused = rest.refused_post(
        "experiments/set-experiment-tag", experiment_id=experiment_id, key=f"{VIEW_TAG}50", value="{}"
    )
    rest.post("experiments/set-experiment-tag", experiment_id=experiment_id, key=f"{VIEW_TAG}49", value="[]")

    assert refused == invalid(
        f"Unable to create another custom view for experiment {experiment_id}; the maximum number of custom views per"
        " experiment is 50. Delete an existing custom view before creating a new one."
    )


def test_renaming_moves_the_name_and_the_update_time(rest: Rest) -> None:
    name = factories.unique()
    experiment_id = factories.new_experiment(rest, name=name)

    assert rest.post("experiments/update", experiment_id=experiment_id, new_name=name + "-2") == {}

    experiment = factories.get_experiment(rest, experiment_id)
    assert experiment["name"] == name + "-2"
    assert experiment["last_update_time"] >= experiment["creation_time"]
    assert rest.refused_get("experiments/get-by-name", experiment_name=name).status == 404


def test_renaming_to_the_same_name_is_granted(rest: Rest) -> None:
    name = factories.unique()
    experiment_id = factories.new_experiment(rest, name=name)

    assert rest.post("experiments/update", experiment_id=experiment_id, new_name=name) == {}


def test_renaming_to_a_blank_name_is_refused(rest: Rest, experiment_id: str) -> None:
    refused = rest.refused_post("experiments/update", experiment_id=experiment_id, new_name=" ")

    assert refused == invalid("Invalid experiment name: ' '")


def test_an_unknown_experiment_cannot_be_renamed(rest: Rest) -> None:
    refused = rest.refused_post("experiments/update", experiment_id=factories.UNKNOWN_EXPERIMENT, new_name="x")

    assert refused == not_found(texts.no_experiment(factories.UNKNOWN_EXPERIMENT))


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
def test_renaming_to_a_taken_name_is_refused(rest: Rest, experiment_id: str) -> None:
    taken = factories.unique()
    factories.new_experiment(rest, name=taken)

    refused = rest.refused_post("experiments/update", experiment_id=experiment_id, new_name=taken)

    assert (refused.status, refused.error_code) == (400, "RESOURCE_ALREADY_EXISTS")
    assert refused.message.startswith(f"Experiment(name={taken}) already exists.")


@pytest.mark.departure("stock answers 500, which clients take for an outage")
def test_a_deleted_experiment_cannot_be_renamed(rest: Rest) -> None:
    experiment_id = factories.deleted_experiment(rest)

    refused = rest.refused_post("experiments/update", experiment_id=experiment_id, new_name=factories.unique())

    assert refused.status == 400
    assert refused.error_code in {"INVALID_STATE", "INVALID_PARAMETER_VALUE"}
    assert refused.message == "Cannot rename a non-active experiment."


def test_a_deleted_experiment_can_still_be_read(rest: Rest) -> None:
    name = factories.unique()
    experiment_id = factories.new_experiment(rest, name=name)

    assert rest.post("experiments/delete", experiment_id=experiment_id) == {}

    by_id = factories.get_experiment(rest, experiment_id)
    by_name = rest.get("experiments/get-by-name", experiment_name=name)["experiment"]
    assert by_id == by_name
    assert by_id["lifecycle_stage"] == "deleted"


def test_a_deleted_experiment_cannot_be_deleted_again(rest: Rest) -> None:
    experiment_id = factories.deleted_experiment(rest)

    refused = rest.refused_post("experiments/delete", experiment_id=experiment_id)

    assert refused == not_found(texts.no_experiment(experiment_id))


def test_an_active_experiment_cannot_be_restored(rest: Rest, experiment_id: str) -> None:
    refused = rest.refused_post("experiments/restore", experiment_id=experiment_id)

    assert refused == not_found(texts.no_experiment(experiment_id))


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("runs/create", {}),
        ("logged-models", {}),
        ("experiments/set-experiment-tag", {"key": "a", "value": "1"}),
        ("experiments/delete-experiment-tag", {"key": "a"}),
    ],
)
def test_a_deleted_experiment_takes_nothing_new(rest: Rest, path: str, fields: dict[str, Any]) -> None:
    experiment_id = factories.deleted_experiment(rest)

    refused = rest.refused_post(path, experiment_id=experiment_id, **fields)

    assert refused == invalid(texts.experiment_not_active(experiment_id))


def test_deleting_an_experiment_deletes_its_runs(rest: Rest, experiment_id: str) -> None:
    run_id = factories.new_run(rest, experiment_id)

    rest.post("experiments/delete", experiment_id=experiment_id)

    assert factories.get_run(rest, run_id)["info"]["lifecycle_stage"] == "deleted"
    assert rest.post("runs/search", experiment_ids=[experiment_id]) == {}
    assert rest.refused_post("runs/set-tag", run_id=run_id, key="a") == invalid(texts.run_not_active(run_id))


def test_restoring_an_experiment_restores_all_of_its_runs(rest: Rest, experiment_id: str) -> None:
    deleted_before = factories.new_run(rest, experiment_id)
    rest.post("runs/delete", run_id=deleted_before)
    deleted_with_it = factories.new_run(rest, experiment_id)
    rest.post("experiments/delete", experiment_id=experiment_id)

    assert rest.post("experiments/restore", experiment_id=experiment_id) == {}

    stages = [factories.get_run(rest, run)["info"]["lifecycle_stage"] for run in (deleted_before, deleted_with_it)]
    assert stages == ["active", "active"]
    assert factories.get_experiment(rest, experiment_id)["lifecycle_stage"] == "active"


def test_a_run_restored_alone_is_found_in_its_deleted_experiment(rest: Rest, experiment_id: str) -> None:
    run_id = factories.new_run(rest, experiment_id)
    rest.post("experiments/delete", experiment_id=experiment_id)

    rest.post("runs/restore", run_id=run_id)

    found = rest.post("runs/search", experiment_ids=[experiment_id])["runs"]
    assert [run["info"]["run_id"] for run in found] == [run_id]


def test_deleting_an_experiment_leaves_its_models_readable(rest: Rest, experiment_id: str) -> None:
    model_id = factories.new_model(rest, experiment_id)

    rest.post("experiments/delete", experiment_id=experiment_id)

    assert factories.get_model(rest, model_id)["info"]["model_id"] == model_id
    found = rest.post("logged-models/search", experiment_ids=[experiment_id])["models"]
    assert [model["info"]["model_id"] for model in found] == [model_id]
