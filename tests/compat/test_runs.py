"""Runs: create, get, update, delete and restore."""

import re
from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Json, Rest, invalid, not_found

STATUSES = {"RUNNING": 1, "SCHEDULED": 2, "FINISHED": 3, "FAILED": 4, "KILLED": 5}
READ_BY_UUID: list[tuple[str, Json]] = [
    ("runs/set-tag", {"key": "a", "value": "1"}),
    ("runs/log-parameter", {"key": "a", "value": "1"}),
    ("runs/log-metric", {"key": "a", "value": 1, "timestamp": 1}),
    ("runs/update", {"status": "FINISHED"}),
]
WRITES: list[tuple[str, Json]] = [
    *READ_BY_UUID,
    ("runs/delete-tag", {"key": "a"}),
    ("runs/log-batch", {}),
    ("runs/log-batch", {"metrics": [factories.metric()]}),
    ("runs/log-inputs", {}),
    ("runs/log-inputs", {"datasets": [factories.dataset_input()]}),
    ("runs/outputs", {"models": []}),
    ("runs/outputs", {"models": [{"model_id": "m-1", "step": 0}]}),
]
RUN_NAME = "mlflow.runName"


def test_a_new_run_has_these_fields_and_no_others(rest: Rest, experiment_id: str) -> None:
    answer = rest.post(
        "runs/create",
        experiment_id=experiment_id,
        start_time=5,
        run_name="first",
        user_id="ann",
        tags=[{"key": "a", "value": ""}],
    )

    run_id = answer["run"]["info"]["run_id"]
    tags = answer["run"]["data"].pop("tags")
    assert answer == {
        "run": {
            "info": {
                "run_uuid": run_id,
                "experiment_id": experiment_id,
                "run_name": "first",
                "user_id": "ann",
                "status": "RUNNING",
                "start_time": 5,
                "artifact_uri": f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts",
                "lifecycle_stage": "active",
                "run_id": run_id,
            },
            "data": {},
            "inputs": {},
        }
    }
    assert factories.as_dict(tags) == {"a": "", RUN_NAME: "first"}
    assert re.fullmatch("[0-9a-f]{32}", run_id)


def test_a_run_that_is_read_also_has_outputs(rest: Rest, experiment_id: str) -> None:
    created = rest.post("runs/create", experiment_id=experiment_id, start_time=5, run_name="first")["run"]

    run = factories.get_run(rest, created["info"]["run_id"])

    assert run == {**created, "outputs": {}}


def test_a_run_that_is_found_is_the_run_that_is_read(rest: Rest, experiment_id: str) -> None:
    run_id = factories.new_run(rest, experiment_id, tags=[{"key": "a", "value": "1"}])
    factories.log(rest, run_id, metrics=[factories.metric(value="NaN")], params={"p": "1"})

    found = rest.post("runs/search", experiment_ids=[experiment_id])

    assert found == {"runs": [factories.get_run(rest, run_id)]}


def test_what_is_not_given_has_these_defaults(rest: Rest, experiment_id: str) -> None:
    info = rest.post("runs/create", experiment_id=experiment_id)["run"]["info"]

    assert (info["start_time"], info["user_id"], info["status"]) == (0, "", "RUNNING")
    assert "end_time" not in info


@pytest.mark.parametrize("fields", [{}, {"run_name": ""}, {"run_name": None}], ids=str)
def test_a_nameless_run_is_given_a_name_and_its_tag(rest: Rest, experiment_id: str, fields: Json) -> None:
    run = rest.post("runs/create", experiment_id=experiment_id, **fields)["run"]

    assert run["info"]["run_name"]
    assert factories.as_dict(run["data"]["tags"]) == {RUN_NAME: run["info"]["run_name"]}


@pytest.mark.parametrize("fields", [{}, {"run_name": "by tag"}], ids=str)
def test_a_run_can_be_named_by_its_tag(rest: Rest, experiment_id: str, fields: Json) -> None:
    tags = [{"key": RUN_NAME, "value": "by tag"}]

    run = rest.post("runs/create", experiment_id=experiment_id, tags=tags, **fields)["run"]

    assert run["info"]["run_name"] == "by tag"
    assert run["data"]["tags"] == tags


def test_a_name_and_a_tag_that_differ_are_refused(rest: Rest, experiment_id: str) -> None:
    refused = rest.refused_post(
        "runs/create", experiment_id=experiment_id, run_name="a", tags=[{"key": RUN_NAME, "value": "b"}]
    )

    assert refused == invalid(
        "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"
        " (run_name='a', mlflow.runName='b')."
    )


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
def test_a_tag_given_twice_at_creation_is_refused(rest: Rest, experiment_id: str) -> None:
    tags = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]

    refused = rest.refused_post("runs/create", experiment_id=experiment_id, tags=tags)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert rest.post("runs/search", experiment_ids=[experiment_id]) == {}


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
def test_a_run_needs_an_experiment(rest: Rest) -> None:
    refused = rest.refused_post("runs/create", start_time=1)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert "experiment_id" in refused.message


@pytest.mark.parametrize("path", ["runs/create", "logged-models"])
def test_the_experiment_must_exist(rest: Rest, path: str) -> None:
    unknown = rest.refused_post(path, experiment_id=factories.UNKNOWN_EXPERIMENT)
    no_number = rest.refused_post(path, experiment_id="abc")

    assert unknown == not_found(texts.no_experiment(factories.UNKNOWN_EXPERIMENT))
    assert no_number == invalid(texts.bad_experiment_id("abc"))


@pytest.mark.parametrize(
    ("given", "kept"), [(7, 7), ("77", 77), (1e3, 1000), (-5, -5), (2**63 - 1, 2**63 - 1), (None, 0)]
)
def test_a_start_time_may_be_a_number_or_its_text(rest: Rest, experiment_id: str, given: object, kept: int) -> None:
    run = rest.post("runs/create", experiment_id=experiment_id, start_time=given)["run"]

    assert run["info"]["start_time"] == kept


@pytest.mark.parametrize(
    "query",
    [{"run_id": "{run}"}, {"run_uuid": "{run}"}, {"run_id": "{run}", "run_uuid": "other"}],
    ids=str,
)
def test_a_run_is_read_by_either_name_of_its_id(rest: Rest, run_id: str, query: dict[str, str]) -> None:
    run = rest.get("runs/get", **{name: value.replace("{run}", run_id) for name, value in query.items()})["run"]

    assert run["info"]["run_id"] == run["info"]["run_uuid"] == run_id


def test_an_empty_run_id_is_missing_even_beside_a_run_uuid(rest: Rest, run_id: str) -> None:
    assert rest.refused_get("runs/get", run_id="", run_uuid=run_id) == invalid(texts.missing("run_id"))


@pytest.mark.parametrize(("path", "fields"), READ_BY_UUID)
def test_a_run_is_written_by_either_name_of_its_id(rest: Rest, run_id: str, path: str, fields: Json) -> None:
    before = factories.get_run(rest, run_id)

    rest.post(path, run_uuid=run_id, **fields)

    assert factories.get_run(rest, run_id) != before


@pytest.mark.parametrize("path", ["runs/delete", "runs/restore"])
def test_an_unknown_run_cannot_change_its_life(rest: Rest, path: str) -> None:
    assert rest.refused_post(path, run_id="nope") == not_found(texts.no_run("nope"))


@pytest.mark.parametrize(("path", "fields"), WRITES, ids=str)
def test_an_unknown_run_cannot_be_written_to(rest: Rest, path: str, fields: Json) -> None:
    refused = rest.refused_post(path, run_id=factories.UNKNOWN_RUN, **fields)

    assert refused == not_found(texts.no_run(factories.UNKNOWN_RUN))


@pytest.mark.parametrize("run_id", ["nope", "../x", "a" * 300, "a b"])
def test_an_unknown_run_is_not_found(rest: Rest, run_id: str) -> None:
    assert rest.refused_get("runs/get", run_id=run_id) == not_found(texts.no_run(run_id))


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("number", [False, True], ids=["name", "number"])
def test_a_status_is_set_by_name_or_number(rest: Rest, run_id: str, status: str, number: bool) -> None:
    rest.post("runs/update", run_id=run_id, status=STATUSES[status] if number else status)

    assert factories.get_run(rest, run_id)["info"]["status"] == status


def test_an_update_answers_with_the_run_as_it_is_now(rest: Rest, run_id: str) -> None:
    answer = rest.post("runs/update", run_id=run_id, status="FINISHED", end_time=123, run_name="new")

    info = factories.get_run(rest, run_id)["info"]
    assert answer == {"run_info": info}
    assert (info["status"], info["end_time"], info["run_name"]) == ("FINISHED", 123, "new")


@pytest.mark.parametrize(
    "fields",
    [{}, {"status": None}, {"end_time": None}, {"run_name": ""}, {"run_name": None}],
    ids=str,
)
def test_what_an_update_does_not_give_stays(rest: Rest, run_id: str, fields: Json) -> None:
    rest.post("runs/update", run_id=run_id, status="FAILED", end_time=9, run_name="kept")
    before = factories.get_run(rest, run_id)

    rest.post("runs/update", run_id=run_id, **fields)

    assert factories.get_run(rest, run_id) == before


@pytest.mark.parametrize(("given", "kept"), [("55", 55), (-1, -1), (1e3, 1000)])
def test_an_end_time_may_be_a_number_or_its_text(rest: Rest, run_id: str, given: object, kept: int) -> None:
    assert rest.post("runs/update", run_id=run_id, end_time=given)["run_info"]["end_time"] == kept


def test_an_end_time_of_zero_is_not_shown(rest: Rest, run_id: str) -> None:
    rest.post("runs/update", run_id=run_id, end_time=5)

    assert "end_time" not in rest.post("runs/update", run_id=run_id, end_time=0)["run_info"]


def test_a_deleted_run_can_still_be_read(rest: Rest) -> None:
    run_id = factories.new_run(rest)
    factories.log(rest, run_id, metrics=[factories.metric()], params={"p": "1"})
    before = factories.get_run(rest, run_id)

    assert rest.post("runs/delete", run_id=run_id) == {}

    assert factories.get_run(rest, run_id) == {**before, "info": {**before["info"], "lifecycle_stage": "deleted"}}
    assert len(factories.history_of(rest, run_id)) == 1


def test_a_restored_run_is_as_before(rest: Rest, run_id: str) -> None:
    before = factories.get_run(rest, run_id)
    rest.post("runs/delete", run_id=run_id)

    assert rest.post("runs/restore", run_id=run_id) == {}

    assert factories.get_run(rest, run_id) == before


@pytest.mark.parametrize("path", ["runs/delete", "runs/restore"])
def test_deleting_and_restoring_can_be_repeated(rest: Rest, path: str) -> None:
    run_id = factories.deleted_run(rest) if path == "runs/delete" else factories.new_run(rest)

    assert rest.post(path, run_id=run_id) == {}


@pytest.mark.parametrize(("path", "fields"), WRITES, ids=str)
def test_a_deleted_run_takes_nothing_new(rest: Rest, path: str, fields: Json) -> None:
    run_id = factories.deleted_run(rest)

    assert rest.refused_post(path, run_id=run_id, **fields) == invalid(texts.run_not_active(run_id))


def test_a_run_names_its_parent_by_a_tag(rest: Rest, experiment_id: str) -> None:
    parent = factories.new_run(rest, experiment_id, run_name="parent")
    children = {
        factories.new_run(rest, experiment_id, tags=[{"key": "mlflow.parentRunId", "value": parent}]) for _ in range(3)
    }

    clause = f"tags.mlflow.parentRunId = '{parent}'"
    found = rest.post("runs/search", experiment_ids=[experiment_id], filter=clause)["runs"]

    assert {run["info"]["run_id"] for run in found} == children


def test_deleting_a_parent_leaves_its_children(rest: Rest, experiment_id: str) -> None:
    parent = factories.new_run(rest, experiment_id)
    child = factories.new_run(rest, experiment_id, tags=[{"key": "mlflow.parentRunId", "value": parent}])

    rest.post("runs/delete", run_id=parent)

    assert factories.get_run(rest, child)["info"]["lifecycle_stage"] == "active"


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("runs/create", {"experiment_id": 5}, "experiment_id"),
        ("runs/create", {"run_name": 5}, "run_name"),
        ("runs/create", {"run_name": ["a"]}, "run_name"),
        ("runs/create", {"start_time": "x"}, "start_time"),
        ("runs/update", {"run_id": {"a": 1}}, "run_id"),
        ("runs/update", {"run_id": "r", "end_time": "x"}, "end_time"),
        ("runs/update", {"run_id": "r", "status": []}, "status"),
        ("runs/update", {"run_id": "r", "run_name": 5}, "run_name"),
        ("runs/set-tag", {"run_id": "r", "key": 5}, "key"),
        ("runs/set-tag", {"run_id": "r", "key": "k", "value": 5}, "value"),
        ("runs/set-tag", {"run_id": "r", "key": "k", "value": {}}, "value"),
        ("runs/log-parameter", {"run_id": "r", "key": "k", "value": True}, "value"),
        ("runs/log-parameter", {"run_id": "r", "key": "k", "value": 1.5}, "value"),
        ("runs/delete", {"run_id": 5}, "run_id"),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_is_named(rest: Rest, path: str, fields: dict[str, Any], name: str) -> None:
    assert rest.refused_post(path, **fields) == invalid(texts.wrong_type(name, fields[name]))
