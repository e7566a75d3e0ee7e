"""MLflow's dialect of HTTP and JSON: bodies, query strings, numbers, spellings, routes that are not there."""

import json
from typing import Any

import pytest

from tests.compat import factories, routes, texts
from tests.compat.rest import AJAX, API, Rest, invalid, refusal
from tests.compat.routes import Route

POSTS = tuple(route for route in routes.TRACKING if route.method == "POST")
POSTS_WITH_REQUIRED = tuple(route for route in POSTS if route.required and not route.path.endswith("/log-batch"))


def name_of(route: Route) -> str:
    return route.name


@pytest.mark.parametrize("route", POSTS, ids=name_of)
def test_a_post_has_a_content_type(rest: Rest, route: Route) -> None:
    refused = refusal(rest.call("POST", route.filled(), content=b"{}"))

    assert refused == invalid("Bad Request. Content-Type header is missing.")


@pytest.mark.parametrize("route", POSTS, ids=name_of)
def test_a_post_is_json(rest: Rest, route: Route) -> None:
    refused = refusal(rest.call("POST", route.filled(), content=b"{}", headers={"Content-Type": "text/plain"}))

    assert refused == invalid("Bad Request. Content-Type must be one of ['application/json'].")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/json", "application/vnd.api+json", "application/x-www-form-urlencoded", "application/json ;x"],
)
def test_no_other_content_type_will_do(rest: Rest, content_type: str) -> None:
    refused = refusal(rest.call("POST", "runs/search", content=b"{}", headers={"Content-Type": content_type}))

    assert refused == invalid("Bad Request. Content-Type must be one of ['application/json'].")


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_a_content_type_may_have_parameters(rest: Rest, content_type: str) -> None:
    response = rest.call("POST", "runs/search", content=b"{}", headers={"Content-Type": content_type})

    assert (response.status_code, response.json()) == (200, {})


def test_a_get_may_have_any_content_type(rest: Rest) -> None:
    response = rest.call(
        "GET", "experiments/get", params={"experiment_id": "0"}, headers={"Content-Type": "text/plain"}
    )

    assert response.status_code == 200


@pytest.mark.parametrize("route", POSTS_WITH_REQUIRED, ids=name_of)
@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'"{}"', b" {\n} "])
def test_no_body_is_an_empty_object(rest: Rest, route: Route, content: bytes) -> None:
    refused = rest.refused_bytes(route.filled(), content)

    assert refused == invalid(texts.missing(route.required[0]))


@pytest.mark.parametrize("content", [b"", b"null", b"{}"])
def test_a_search_needs_no_body(rest: Rest, content: bytes) -> None:
    assert rest.send("runs/search", content).json() == {}


def test_an_answer_is_json_with_numbers_as_numbers(rest: Rest, run_id: str) -> None:
    factories.log(rest, run_id, metrics=[factories.metric("a", "NaN", 2**60, 2**61)])

    response = rest.call("GET", "runs/get", params={"run_id": run_id})

    assert response.headers["content-type"].split(";")[0] == "application/json"
    point = response.json()["run"]["data"]["metrics"][0]
    assert point == {"key": "a", "value": "NaN", "timestamp": 2**60, "step": 2**61}
    assert type(response.json()["run"]["info"]["start_time"]) is int


def test_a_refusal_is_json_with_a_code_and_a_message(rest: Rest) -> None:
    response = rest.call("GET", "runs/get", params={"run_id": "nope"})

    assert response.headers["content-type"].split(";")[0] == "application/json"
    assert response.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert response.json()["message"] == "Run with id=nope not found"


def test_texts_are_unicode_both_ways(rest: Rest, run_id: str) -> None:
    value = "é ☃ 😀 \u2028 \x7f \x01 \\ \" ' \n\t"

    rest.post("runs/set-tag", run_id=run_id, key="t", value=value)

    assert factories.tags_of(rest, run_id)["t"] == value


def test_escaped_texts_are_unescaped(rest: Rest, run_id: str) -> None:
    rest.send("runs/set-tag", b'{"run_id": "%s", "key": "t", "value": "\\ud83d\\ude00\\/"}' % run_id.encode())

    assert factories.tags_of(rest, run_id)["t"] == "😀/"


def test_a_doubly_encoded_body_is_decoded_twice(rest: Rest, run_id: str) -> None:
    body = json.dumps(json.dumps({"run_id": run_id, "run_name": "twice"}))

    assert rest.send("runs/update", body.encode()).status_code == 200

    assert factories.get_run(rest, run_id)["info"]["run_name"] == "twice"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("runs/update", {"foo": 1, "bar": {"baz": [1]}}),
        ("runs/log-batch", {"metrics": [{**factories.metric(), "foo": {"x": [None]}}]}),
        ("runs/log-inputs", {"datasets": [{"dataset": {**factories.dataset(), "foo": 1}, "bar": 2}]}),
    ],
    ids=["field", "field of a metric", "field of a dataset"],
)
def test_unknown_fields_are_ignored(rest: Rest, run_id: str, path: str, fields: dict[str, Any]) -> None:
    assert rest.call("POST", path, json={"run_id": run_id, **fields}).status_code == 200


def test_the_last_of_a_field_given_twice_counts(rest: Rest, run_id: str) -> None:
    rest.send("runs/update", b'{"run_id": "%s", "run_name": "a", "run_name": "b"}' % run_id.encode())

    assert factories.get_run(rest, run_id)["info"]["run_name"] == "b"


def test_optional_fields_may_be_spelled_in_camel_case(rest: Rest, experiment_id: str) -> None:
    created = rest.post("runs/create", experiment_id=experiment_id, startTime=7, runName="a", userId="u")
    run_id = created["run"]["info"]["run_id"]

    info = rest.post("runs/update", run_id=run_id, endTime="8", runName="b")["run_info"]

    assert (info["start_time"], info["user_id"], info["end_time"], info["run_name"]) == (7, "u", 8, "b")


def test_nested_fields_may_be_spelled_in_camel_case(rest: Rest, run_id: str) -> None:
    given = {"name": "a", "digest": "d", "sourceType": "local", "source": "src"}

    rest.post("runs/log-inputs", run_id=run_id, datasets=[{"dataset": given}])

    read = factories.get_run(rest, run_id)["inputs"]["dataset_inputs"][0]["dataset"]
    assert read == factories.dataset("a", "d")


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("runs/update", {"runId": "x"}, "run_id"),
        ("runs/log-batch", {"runId": "x"}, "run_id"),
        ("experiments/delete", {"experimentId": "x"}, "experiment_id"),
        ("experiments/update", {"experiment_id": "x", "newName": "y"}, "new_name"),
        ("logged-models", {"experimentId": "x"}, "experiment_id"),
    ],
)
def test_required_fields_may_not(rest: Rest, path: str, body: dict[str, str], name: str) -> None:
    assert rest.refused_post(path, **body) == invalid(texts.missing(name))


@pytest.mark.parametrize(
    ("path", "body", "snake", "camel"),
    [
        ("runs/update", {"run_id": "x", "runId": "x"}, "run_id", "runId"),
        ("experiments/search", {"max_results": 1, "maxResults": 1}, "max_results", "maxResults"),
        (
            "runs/log-inputs",
            {"run_id": "x", "datasets": [{"dataset": {"source_type": "a", "sourceType": "a"}}]},
            "source_type",
            "sourceType",
        ),
        (
            "runs/log-batch",
            {"run_id": "x", "metrics": [{**factories.metric(), "model_id": "a", "modelId": "a"}]},
            "model_id",
            "modelId",
        ),
    ],
)
def test_a_field_in_both_spellings_is_refused(
    rest: Rest, path: str, body: dict[str, Any], snake: str, camel: str
) -> None:
    refused = rest.refused_post(path, **body)

    assert refused == invalid(f"Request specifies both '{snake}' and '{camel}'; provide only one of them.")


@pytest.mark.parametrize("fields", [{"dataset_name": "iris"}, {"dataset_digest": "d1"}], ids=str)
@pytest.mark.parametrize("path", ["runs/log-metric", "runs/log-batch"])
def test_a_metric_names_its_dataset_in_full(rest: Rest, run_id: str, path: str, fields: dict[str, str]) -> None:
    point = factories.metric() | fields

    refused = rest.refused_post(path, run_id=run_id, **({"metrics": [point]} if path == "runs/log-batch" else point))

    assert refused == invalid("Both dataset_name and dataset_digest must be provided if one is provided")


def test_a_query_string_is_decoded_as_a_form(rest: Rest) -> None:
    name = factories.unique() + " a+b&c=d%20é☃"
    rest.post("experiments/create", name=name)

    found = rest.call("GET", f"experiments/get-by-name?experiment_name={_form_encoded(name)}").json()

    assert found["experiment"]["name"] == name


def test_unknown_query_parameters_are_ignored(rest: Rest) -> None:
    assert rest.get("experiments/get", experiment_id="0", foo="1", bar="")["experiment"]["name"] == "Default"


def test_the_first_of_a_query_parameter_given_twice_counts(rest: Rest, run_id: str) -> None:
    query = [("run_id", run_id), ("run_id", "nope")]

    assert rest.call("GET", "runs/get", params=query).status_code == 200


@pytest.mark.parametrize("path", ["experiments/nope", "nope", "runs", "experiments/get/", "/nope", "/api/2.0/nope"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_route_is_not_found(rest: Rest, method: str, path: str) -> None:
    assert rest.call(method, path).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/3.0/mlflow/experiments/get",
        "/api/2.0/preview/mlflow/experiments/get",
        "/API/2.0/mlflow/experiments/get",
        "/mlflow/experiments/get",
        f"{API}experiments/search-datasets",
        f"{API}metrics/get-history-bulk",
        f"{API}server-info",
        f"{AJAX}server-info",
        f"{API}Experiments/get",
    ],
)
def test_routes_have_one_prefix_and_one_version(rest: Rest, path: str) -> None:
    assert rest.call("GET", path, params={"experiment_id": "0"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "experiments/get", "GET"),
        ("DELETE", "runs/get", "GET"),
        ("GET", "experiments/create", "POST"),
        ("PUT", "runs/search", "POST"),
        ("GET", "runs/search", "POST"),
        ("PATCH", "experiments/search", "GET"),
        ("POST", "metrics/get-history", "GET"),
        ("POST", "/health", "GET"),
        ("POST", "/api/3.0/mlflow/server-info", "GET"),
    ],
)
def test_a_route_has_its_own_methods(rest: Rest, method: str, path: str, allowed: str) -> None:
    response = rest.call(method, path)

    assert response.status_code == 405
    assert allowed in response.headers["allow"]


def test_health_is_ok(rest: Rest) -> None:
    response = rest.call("GET", "/health")

    assert (response.status_code, response.text) == (200, "OK")


def test_the_version_is_the_one_that_is_spoken(rest: Rest) -> None:
    response = rest.call("GET", "/version")

    assert (response.status_code, response.text) == (200, "3.18.0")


@pytest.mark.parametrize("prefix", ["api", "ajax-api"])
def test_server_info_says_what_the_server_can_do(rest: Rest, prefix: str) -> None:
    info = rest.get(f"/{prefix}/3.0/mlflow/server-info")

    assert info["store_type"] == "SqlStore"
    assert info["workspaces_enabled"] is False
    assert info["trace_archival_enabled"] is False
    assert type(info["multipart_uploads_enabled"]) is bool
    assert type(info["multipart_downloads_enabled"]) is bool
    assert type(info["artifact_serving_enabled"]) is bool
    assert type(info["features_enabled"]) is dict


def _form_encoded(text: str) -> str:
    """Percent-encode all but blanks, which are plus signs in a form."""
    return "+".join("".join(f"%{byte:02X}" for byte in word.encode()) for word in text.split(" "))
