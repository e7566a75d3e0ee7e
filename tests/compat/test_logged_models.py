"""Logged models: create, finalize, delete, with their params, tags and metrics."""

import re
from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.factories import UNKNOWN_MODEL, as_dict, metric, pairs
from tests.compat.rest import Json, Rest, invalid, not_found

MODELS = "logged-models"
FORBIDDEN = """('/', ':', '.', '%', '"', "'")"""
STATUSES = {
    "LOGGED_MODEL_STATUS_UNSPECIFIED": 0,
    "LOGGED_MODEL_PENDING": 1,
    "LOGGED_MODEL_READY": 2,
    "LOGGED_MODEL_UPLOAD_FAILED": 3,
}
UNKNOWN = not_found(texts.no_model(UNKNOWN_MODEL))
ON_UNKNOWN: list[tuple[str, str, Json | None]] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("PATCH", "", {"model_id": UNKNOWN_MODEL, "status": "LOGGED_MODEL_READY"}),
    ("PATCH", "/tags", {"tags": [{"key": "a", "value": "1"}]}),
    ("PATCH", "/tags", {"tags": []}),
    ("DELETE", "/tags/a", None),
    ("POST", "/params", {"model_id": UNKNOWN_MODEL, "params": [{"key": "a", "value": "1"}]}),
]


def params_of(rest: Rest, model_id: str) -> dict[str, str]:
    return as_dict(factories.get_model(rest, model_id)["data"].get("params", []))


def tags_of(rest: Rest, model_id: str) -> dict[str, str]:
    return as_dict(factories.get_model(rest, model_id)["info"].get("tags", []))


def metrics_of(rest: Rest, model_id: str) -> list[Json]:
    points = factories.get_model(rest, model_id)["data"].get("metrics", [])
    return sorted(points, key=lambda point: (point["key"], point["step"], point["timestamp"]))


def log_params(rest: Rest, model_id: str, params: dict[str, str]) -> Json:
    return rest.post(f"{MODELS}/{model_id}/params", model_id=model_id, params=pairs(params))


def finalize(rest: Rest, model_id: str, status: object = "LOGGED_MODEL_READY") -> Json:
    return rest.patch(f"{MODELS}/{model_id}", model_id=model_id, status=status)


def test_a_new_model_has_these_fields_and_no_others(rest: Rest, experiment_id: str, run_id: str) -> None:
    answer = rest.post(
        MODELS,
        experiment_id=experiment_id,
        name="model",
        model_type="Agent",
        source_run_id=run_id,
        params=pairs({"p": "1"}),
        tags=pairs({"t": ""}),
    )

    info = answer["model"]["info"]
    created = info["creation_timestamp_ms"]
    assert answer == {
        "model": {
            "info": {
                "model_id": info["model_id"],
                "experiment_id": experiment_id,
                "name": "model",
                "creation_timestamp_ms": created,
                "last_updated_timestamp_ms": created,
                "artifact_uri": f"mlflow-artifacts:/{experiment_id}/models/{info['model_id']}/artifacts",
                "status": "LOGGED_MODEL_PENDING",
                "model_type": "Agent",
                "source_run_id": run_id,
                "tags": pairs({"t": ""}),
            },
            "data": {"params": pairs({"p": "1"})},
        }
    }
    assert type(created) is int
    assert re.fullmatch("m-[0-9a-f]{32}", info["model_id"])


def test_a_model_is_read_as_it_was_made(rest: Rest, experiment_id: str) -> None:
    made = rest.post(MODELS, experiment_id=experiment_id, name="model", params=pairs({"p": "1"}))

    assert rest.get(f"{MODELS}/{made['model']['info']['model_id']}") == made


@pytest.mark.parametrize("fields", [{}, {"name": ""}, {"name": None}], ids=str)
def test_what_is_not_given_has_these_defaults(rest: Rest, experiment_id: str, fields: Json) -> None:
    model = rest.post(MODELS, experiment_id=experiment_id, **fields)["model"]

    assert model["info"]["name"]
    assert (model["info"]["model_type"], model["info"]["source_run_id"]) == ("", "")
    assert "tags" not in model["info"]
    assert model["data"] == {}


def test_models_may_share_a_name(rest: Rest, experiment_id: str) -> None:
    ids = {factories.new_model(rest, experiment_id, name="model") for _ in range(2)}

    assert len(ids) == 2


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"])
def test_a_name_has_none_of_these_characters(rest: Rest, experiment_id: str, name: str) -> None:
    refused = rest.refused_post(MODELS, experiment_id=experiment_id, name=name)

    assert refused == invalid(
        f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the"
        f" following characters: {FORBIDDEN}"
    )


@pytest.mark.parametrize("name", [" ", "é☃ -_$", "a b", "n" * 500])
def test_a_name_may_be_any_other_text(rest: Rest, experiment_id: str, name: str) -> None:
    assert rest.post(MODELS, experiment_id=experiment_id, name=name)["model"]["info"]["name"] == name


def test_the_source_run_need_not_exist(rest: Rest, experiment_id: str) -> None:
    model = rest.post(MODELS, experiment_id=experiment_id, source_run_id="nope")["model"]

    assert model["info"]["source_run_id"] == "nope"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"experiment_id": 5}, "experiment_id"),
        ({"experiment_id": "0", "name": 5}, "name"),
        ({"experiment_id": "0", "model_type": ["a"]}, "model_type"),
        ({"experiment_id": "0", "params": "x"}, "params"),
        ({"experiment_id": "0", "tags": "x"}, "tags"),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_type_is_named(rest: Rest, fields: dict[str, Any], name: str) -> None:
    assert rest.refused_post(MODELS, **fields) == invalid(texts.wrong_type(name, fields[name]))


def test_params_and_tags_are_kept_as_given(rest: Rest, experiment_id: str) -> None:
    given = {"a$/../b": "v" * 6500, "empty": "", "é": "😀\n"}

    model_id = factories.new_model(rest, experiment_id, params=pairs(given), tags=pairs(given))

    assert params_of(rest, model_id) == given
    assert tags_of(rest, model_id) == given


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
@pytest.mark.parametrize("name", ["params", "tags"])
def test_a_key_given_twice_at_creation_is_refused(rest: Rest, experiment_id: str, name: str) -> None:
    twice = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]

    refused = rest.refused_post(MODELS, experiment_id=experiment_id, **{name: twice})

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert rest.post(f"{MODELS}/search", experiment_ids=[experiment_id]) == {}


@pytest.mark.parametrize(("method", "suffix", "body"), ON_UNKNOWN, ids=str)
def test_an_unknown_model_is_not_found(rest: Rest, method: str, suffix: str, body: Json | None) -> None:
    response = rest.call(method, f"{MODELS}/{UNKNOWN_MODEL}{suffix}", **({} if body is None else {"json": body}))

    assert response.status_code == 404
    assert response.json()["error_code"] == UNKNOWN.error_code
    assert response.json()["message"] == UNKNOWN.message


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("form", ["name", "number", "text"])
def test_a_status_is_set_by_name_or_number(rest: Rest, model_id: str, status: str, form: str) -> None:
    number = STATUSES[status]

    answer = finalize(rest, model_id, {"name": status, "number": number, "text": str(number)}[form])

    assert answer["model"]["info"]["status"] == status
    assert rest.get(f"{MODELS}/{model_id}") == answer


def test_finalizing_moves_the_update_time(rest: Rest, model_id: str) -> None:
    info = finalize(rest, model_id)["model"]["info"]

    assert info["last_updated_timestamp_ms"] >= info["creation_timestamp_ms"]


@pytest.mark.departure("stock sets the status to unspecified")
@pytest.mark.parametrize("status", ["READY", "logged_model_ready", 9, "x"])
def test_an_unknown_status_is_refused(rest: Rest, model_id: str, status: object) -> None:
    refused = rest.refused_patch(f"{MODELS}/{model_id}", model_id=model_id, status=status)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert factories.get_model(rest, model_id)["info"]["status"] == "LOGGED_MODEL_PENDING"


def test_the_path_names_the_model_that_is_finalized(rest: Rest, model_id: str) -> None:
    rest.patch(f"{MODELS}/{model_id}", model_id=UNKNOWN_MODEL, status="LOGGED_MODEL_READY")

    assert factories.get_model(rest, model_id)["info"]["status"] == "LOGGED_MODEL_READY"


def test_the_path_names_the_model_that_gets_params(rest: Rest, model_id: str) -> None:
    rest.post(f"{MODELS}/{model_id}/params", model_id=UNKNOWN_MODEL, params=pairs({"p": "1"}))

    assert params_of(rest, model_id) == {"p": "1"}


def test_params_can_be_added(rest: Rest) -> None:
    model_id = factories.new_model(rest, params=pairs({"a": "1"}))

    assert log_params(rest, model_id, {"b": "v" * 6500, "c": ""}) == {}

    assert params_of(rest, model_id) == {"a": "1", "b": "v" * 6500, "c": ""}


@pytest.mark.parametrize("fields", [{}, {"params": []}], ids=str)
def test_adding_no_params_is_granted(rest: Rest, model_id: str, fields: Json) -> None:
    assert rest.post(f"{MODELS}/{model_id}/params", model_id=model_id, **fields) == {}


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
def test_a_param_cannot_change(rest: Rest) -> None:
    model_id = factories.new_model(rest, params=pairs({"a": "1"}))

    refused = rest.refused_post(f"{MODELS}/{model_id}/params", model_id=model_id, params=pairs({"b": "1", "a": "2"}))

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert params_of(rest, model_id) == {"a": "1"}


def test_params_that_are_no_list_are_refused(rest: Rest, model_id: str) -> None:
    refused = rest.refused_post(f"{MODELS}/{model_id}/params", model_id=model_id, params="x")

    assert refused == invalid(texts.wrong_type("params", "x"))


def test_tags_are_set_and_replaced(rest: Rest) -> None:
    model_id = factories.new_model(rest, tags=pairs({"a": "1", "kept": "1"}))
    given = [{"key": "a", "value": "2"}, {"key": "b", "value": "1"}, {"key": "b", "value": "2"}, {"key": "valueless"}]

    assert rest.patch(f"{MODELS}/{model_id}/tags", tags=given) == {}

    assert tags_of(rest, model_id) == {"a": "2", "b": "2", "kept": "1", "valueless": ""}


@pytest.mark.parametrize("body", [{}, {"tags": []}], ids=str)
def test_setting_no_tags_is_granted(rest: Rest, model_id: str, body: Json) -> None:
    assert rest.patch(f"{MODELS}/{model_id}/tags", **body) == {}


def test_tags_that_are_no_list_are_refused(rest: Rest, model_id: str) -> None:
    assert rest.refused_patch(f"{MODELS}/{model_id}/tags", tags="x") == invalid(texts.wrong_type("tags", "x"))


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}], ids=str)
def test_a_patch_may_have_any_content_type(rest: Rest, model_id: str, headers: dict[str, str]) -> None:
    body = b'{"tags": [{"key": "a", "value": "1"}]}'

    response = rest.call("PATCH", f"{MODELS}/{model_id}/tags", content=body, headers=headers)

    assert response.status_code == 200
    assert tags_of(rest, model_id) == {"a": "1"}


@pytest.mark.parametrize("key", ["a", "sp ace", "é", "a$", "50%"])
def test_a_deleted_tag_is_gone(rest: Rest, key: str) -> None:
    model_id = factories.new_model(rest, tags=pairs({key: "1", "kept": "1"}))

    assert rest.delete(f"{MODELS}/{model_id}/tags/{key.replace('%', '%25')}") == {}

    assert tags_of(rest, model_id) == {"kept": "1"}


def test_a_tag_may_be_deleted_with_a_body(rest: Rest) -> None:
    model_id = factories.new_model(rest, tags=pairs({"a": "1"}))

    response = rest.call("DELETE", f"{MODELS}/{model_id}/tags/a", json={"model_id": model_id, "tag_key": "a"})

    assert (response.status_code, response.json()) == (200, {})


def test_deleting_a_tag_that_is_not_there_is_refused(rest: Rest, model_id: str) -> None:
    refused = rest.refused_delete(f"{MODELS}/{model_id}/tags/missing")

    assert refused == not_found(f"No tag with key 'missing' found for model with ID '{model_id}'.")


def test_neither_tags_nor_params_move_the_update_time(rest: Rest, model_id: str) -> None:
    before = factories.get_model(rest, model_id)["info"]["last_updated_timestamp_ms"]

    rest.patch(f"{MODELS}/{model_id}/tags", tags=pairs({"a": "1"}))
    log_params(rest, model_id, {"p": "1"})

    assert factories.get_model(rest, model_id)["info"]["last_updated_timestamp_ms"] == before


def test_a_deleted_model_is_not_found(rest: Rest, experiment_id: str) -> None:
    model_id = factories.new_model(rest, experiment_id)

    assert rest.delete(f"{MODELS}/{model_id}") == {}

    assert rest.refused_get(f"{MODELS}/{model_id}") == not_found(texts.no_model(model_id))
    assert rest.post(f"{MODELS}/search", experiment_ids=[experiment_id]) == {}


@pytest.mark.parametrize("allow_deleted", ["true", "True"])
def test_a_deleted_model_is_read_when_asked_for(rest: Rest, model_id: str, allow_deleted: str) -> None:
    rest.delete(f"{MODELS}/{model_id}")

    model = rest.get(f"{MODELS}/{model_id}", allow_deleted=allow_deleted)["model"]

    assert model["info"]["model_id"] == model_id


def test_a_model_may_be_deleted_again_and_with_a_body(rest: Rest, model_id: str) -> None:
    rest.delete(f"{MODELS}/{model_id}")

    response = rest.call("DELETE", f"{MODELS}/{model_id}", json={"model_id": model_id})

    assert (response.status_code, response.json()) == (200, {})


def test_a_deleted_model_still_takes_what_it_is_given(rest: Rest, model_id: str) -> None:
    rest.delete(f"{MODELS}/{model_id}")

    finalize(rest, model_id)
    rest.patch(f"{MODELS}/{model_id}/tags", tags=pairs({"a": "1"}))
    log_params(rest, model_id, {"p": "1"})

    model = rest.get(f"{MODELS}/{model_id}", allow_deleted="true")["model"]
    assert model["info"]["status"] == "LOGGED_MODEL_READY"
    assert (model["info"]["tags"], model["data"]["params"]) == (pairs({"a": "1"}), pairs({"p": "1"}))


@pytest.mark.parametrize("how", ["log-metric", "log-batch"])
def test_a_metric_of_a_model_is_also_its_runs(rest: Rest, run_id: str, model_id: str, how: str) -> None:
    point = metric("acc", 0.5, 7, 3, model_id=model_id, dataset_name="iris", dataset_digest="d1")

    rest.post(f"runs/{how}", run_id=run_id, **(point if how == "log-metric" else {"metrics": [point]}))

    assert factories.metrics_of(rest, run_id) == {"acc": metric("acc", 0.5, 7, 3)}
    assert metrics_of(rest, model_id) == [{**point, "run_id": run_id}]


def test_a_metric_without_a_dataset_has_no_dataset_fields(rest: Rest, run_id: str, model_id: str) -> None:
    rest.post("runs/log-metric", run_id=run_id, **metric(model_id=model_id))

    assert metrics_of(rest, model_id) == [{**metric(model_id=model_id), "run_id": run_id}]


def test_a_model_has_every_point_of_its_metrics_once(rest: Rest, run_id: str, model_id: str) -> None:
    points = [metric(step=step, model_id=model_id) for step in (1, 2)]
    for _ in range(2):
        rest.post("runs/log-batch", run_id=run_id, metrics=points)

    assert [point["step"] for point in metrics_of(rest, model_id)] == [1, 2]


def test_a_batch_may_hold_metrics_of_several_models(rest: Rest, run_id: str, model_id: str) -> None:
    other = factories.new_model(rest)
    points = [metric("a", model_id=model_id), metric("b", model_id=other), metric("c")]

    rest.post("runs/log-batch", run_id=run_id, metrics=points)

    assert [point["key"] for point in metrics_of(rest, model_id)] == ["a"]
    assert [point["key"] for point in metrics_of(rest, other)] == ["b"]
    assert set(factories.metrics_of(rest, run_id)) == {"a", "b", "c"}


def test_an_infinite_metric_of_a_model_is_the_largest_number(rest: Rest, run_id: str, model_id: str) -> None:
    rest.post("runs/log-metric", run_id=run_id, **metric(value="-Infinity", model_id=model_id))

    assert metrics_of(rest, model_id)[0]["value"] == -1.7976931348623157e308


@pytest.mark.departure("stock stores 0.0 for a model's NaN")
def test_a_metric_of_a_model_that_is_no_number_stays_so(rest: Rest, run_id: str, model_id: str) -> None:
    rest.post("runs/log-metric", run_id=run_id, **metric(value="NaN", model_id=model_id))

    assert metrics_of(rest, model_id)[0]["value"] == "NaN"


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
def test_a_metric_of_an_unknown_model_is_refused(rest: Rest, run_id: str) -> None:
    refused = rest.refused_post("runs/log-metric", run_id=run_id, **metric(model_id=UNKNOWN_MODEL))

    assert refused.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
    assert UNKNOWN_MODEL in refused.message
    assert factories.metrics_of(rest, run_id) == {}


def test_an_empty_model_id_is_no_model(rest: Rest, run_id: str) -> None:
    rest.post("runs/log-metric", run_id=run_id, **metric(model_id=""))

    assert factories.metrics_of(rest, run_id) == {"m": metric()}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", MODELS, 405),
        ("PUT", f"{MODELS}/m-1", 405),
        ("POST", f"{MODELS}/m-1", 405),
        ("GET", f"{MODELS}/m-1/tags", 405),
        ("GET", f"{MODELS}/", 404),
        ("DELETE", f"{MODELS}/m-1/tags/a/b", 404),
    ],
)
def test_models_have_no_other_routes(rest: Rest, method: str, path: str, status: int) -> None:
    assert rest.call(method, path).status_code == status


def test_a_model_called_search_is_not_found_rather_than_searched(rest: Rest) -> None:
    assert rest.refused_get(f"{MODELS}/search") == not_found(texts.no_model("search"))
