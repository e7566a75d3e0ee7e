"""Input that no client should send is refused with 400 and words, writes nothing and fails nothing."""

import json
from typing import Any

import httpx
import pytest

from tests.compat import factories, routes, texts
from tests.compat.rest import JSON_TYPE, Json, Rest, invalid, refusal
from tests.compat.routes import Kind, Route

WITH_BODY = tuple(route for route in routes.API if route.kinds)
REFUSED = (400, "INVALID_PARAMETER_VALUE")
NOT_OBJECTS = {
    "number": b"5",
    "true": b"true",
    "text": b'"x"',
    "list": b"[]",
    "text in text in text": json.dumps(json.dumps(json.dumps({}))).encode(),
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
}
NOT_JSON = {
    "half": b"{",
    "two": b"{} {}",
    "comment": b"{/* */}",
    "single quotes": b"{'name': 'x'}",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "NUL": b'{"name": "a\x00"}',
}
WRONG: dict[Kind, tuple[Any, ...]] = {
    "text": (5, 1.5, True, ["a"], {"a": 1}),
    "integer": ("abc", 1.5, True, [1], {"a": 1}, 2**63, 2**200),
    "number": ("abc", [1], {"a": 1}),
    "choice": ("BOGUS", [1], {"a": 1}, 1.5),
    "texts": ("x", 5, {"a": 1}, [5], [["a"]], [{"a": 1}]),
    "objects": ("x", 5, {"a": 1}, ["x"], [5], [[1]]),
}
FIELDS = [(route, name) for route in WITH_BODY for name in route.kinds]
SWALLOWED_TEXTS = {("POST runs/create", "user_id"), ("POST runs/search", "page_token")}
TYPED_LISTS = {("POST runs/search", "order_by"), ("POST logged-models/search", "experiment_ids")}
TYPED_BY_STOCK = [
    (route, name)
    for route, name in FIELDS
    if (route.name, name) in TYPED_LISTS or (route.kinds[name] == "text" and (route.name, name) not in SWALLOWED_TEXTS)
]
NAMED_BY_STOCK = ("POST logged-models/search", "datasets")
UNTYPED_BY_STOCK = [
    (route, name)
    for route, name in FIELDS
    if (route, name) not in TYPED_BY_STOCK and (route.name, name) != NAMED_BY_STOCK
]
LEAKS = ("Traceback", "sqlite", "psycopg", "SELECT ", "INSERT ", "UPDATE ", "grpc", "site-packages")
HUGE_ID = str(2**70)


def judged(response: httpx.Response) -> tuple[int, str]:
    """The status and code of an answer that tells nothing of what is behind the server."""
    assert not [leak for leak in LEAKS if leak in response.text], response.text[:500]
    is_json = response.headers.get("content-type", "").startswith("application/json")
    return response.status_code, response.json().get("error_code", "") if is_json else ""


@pytest.mark.departure("stock answers 500 to JSON that is no object, or takes it for an empty one")
@pytest.mark.parametrize("route", WITH_BODY, ids=lambda route: route.name)
def test_a_body_is_an_object(rest: Rest, route: Route) -> None:
    answers = {
        case: judged(rest.send(route.filled(), content, method=route.method)) for case, content in NOT_OBJECTS.items()
    }

    assert answers == dict.fromkeys(NOT_OBJECTS, REFUSED)


@pytest.mark.parametrize("case", NOT_JSON)
@pytest.mark.parametrize("path", ["experiments/create", "runs/update", "runs/log-metric", "logged-models"])
def test_a_body_is_json(rest: Rest, path: str, case: str) -> None:
    assert judged(rest.send(path, NOT_JSON[case])) == REFUSED


@pytest.mark.departure("stock takes a body that it cannot read for an empty one")
@pytest.mark.parametrize("case", NOT_JSON)
def test_a_search_is_not_widened_by_a_body_that_cannot_be_read(rest: Rest, case: str) -> None:
    assert judged(rest.send("runs/search", NOT_JSON[case])) == REFUSED


@pytest.mark.parametrize(("route", "name"), TYPED_BY_STOCK, ids=lambda value: getattr(value, "name", value))
def test_a_field_of_the_wrong_type_is_quoted(rest: Rest, route: Route, name: str) -> None:
    wrong = WRONG[route.kinds[name]]

    refusals = [refusal(response) for response in _sent_with_each(rest, route, name, wrong)]

    assert refusals == [invalid(texts.wrong_type(name, value)) for value in wrong]


@pytest.mark.departure("stock drops what it cannot read and goes on with the rest, or answers 500")
@pytest.mark.parametrize(("route", "name"), UNTYPED_BY_STOCK, ids=lambda value: getattr(value, "name", value))
def test_a_field_of_the_wrong_type_is_named(rest: Rest, route: Route, name: str) -> None:
    responses = _sent_with_each(rest, route, name, WRONG[route.kinds[name]])

    assert [judged(response) for response in responses] == [REFUSED] * len(responses)
    assert [response for response in responses if name not in response.json()["message"]] == []


@pytest.mark.departure("stock stores a text that ends at its NUL for every tool that reads C strings")
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("experiments/create", {"name": "a\0b"}),
        ("experiments/create", {"name": "{unique}", "tags": [{"key": "t", "value": "a\0b"}]}),
        ("experiments/update", {"experiment_id": "{experiment}", "new_name": "a\0b"}),
        ("experiments/set-experiment-tag", {"experiment_id": "{experiment}", "key": "t", "value": "a\0b"}),
        ("runs/create", {"experiment_id": "{experiment}", "run_name": "a\0b"}),
        ("runs/create", {"experiment_id": "{experiment}", "user_id": "a\0b"}),
        ("runs/create", {"experiment_id": "{experiment}", "tags": [{"key": "a\0b", "value": "1"}]}),
        ("runs/update", {"run_id": "{run}", "run_name": "a\0b"}),
        ("runs/set-tag", {"run_id": "{run}", "key": "t", "value": "a\0b"}),
        ("runs/log-parameter", {"run_id": "{run}", "key": "p", "value": "a\0b"}),
        ("runs/log-batch", {"run_id": "{run}", "params": [{"key": "p", "value": "a\0b"}]}),
        ("runs/log-batch", {"run_id": "{run}", "tags": [{"key": "t", "value": "a\0b"}]}),
        ("runs/log-inputs", {"run_id": "{run}", "datasets": [factories.dataset_input("a\0b")]}),
        ("runs/log-inputs", {"run_id": "{run}", "models": [{"model_id": "a\0b"}]}),
        ("runs/outputs", {"run_id": "{run}", "models": [{"model_id": "a\0b"}]}),
        ("logged-models", {"experiment_id": "{experiment}", "name": "a\0b"}),
        ("logged-models", {"experiment_id": "{experiment}", "params": [{"key": "p", "value": "a\0b"}]}),
        ("registered-models/create", {"name": "a\0b"}),
        ("registered-models/create", {"name": "{unique}", "description": "a\0b"}),
        ("registered-models/create", {"name": "{unique}", "tags": [{"key": "t", "value": "a\0b"}]}),
        ("registered-models/rename", {"name": "{unique}", "new_name": "a\0b"}),
        ("model-versions/create", {"name": "{unique}", "source": "s3://bucket/a\0b"}),
        ("model-versions/create", {"name": "{unique}", "source": "s3://bucket/a", "run_link": "a\0b"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_text_with_a_nul_is_refused(rest: Rest, experiment_id: str, path: str, fields: Json) -> None:
    run_id = factories.new_run(rest, experiment_id)
    before = factories.get_run(rest, run_id)
    places = {"{experiment}": experiment_id, "{run}": run_id, "{unique}": factories.unique()}

    response = rest.call("POST", path, json={name: places.get(str(value), value) for name, value in fields.items()})

    assert judged(response) == REFUSED
    assert factories.get_run(rest, run_id) == before


@pytest.mark.parametrize("path", ["runs/set-tag", "runs/log-parameter", "runs/log-metric"])
def test_a_key_with_a_nul_is_refused(rest: Rest, path: str) -> None:
    response = rest.call("POST", path, json={"run_id": "nope", "key": "a\0b", "value": "1", "timestamp": 1})

    assert judged(response) == REFUSED


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("experiments/get", {"experiment_id": "1\0"}),
        ("experiments/get-by-name", {"experiment_name": "q\0q"}),
        ("runs/get", {"run_id": "q\0q"}),
        ("metrics/get-history", {"run_id": "q\0q", "metric_key": "m"}),
        ("metrics/get-history", {"run_id": "a", "metric_key": "m\0"}),
        ("metrics/get-history-bulk-interval", {"run_ids": "q\0q", "metric_key": "m"}),
        ("logged-models/a%00b", {}),
        ("registered-models/get", {"name": "q\0q"}),
        ("registered-models/alias", {"name": "q", "alias": "q\0q"}),
        ("registered-models/search", {"filter": "name = 'q\0q'"}),
        ("model-versions/search", {"filter": "tags.t = 'q\0q'"}),
    ],
    ids=str,
)
def test_a_nul_in_a_query_finds_nothing(rest: Rest, path: str, query: dict[str, str]) -> None:
    response = rest.call("GET", path, params=query)

    assert judged(response) in {REFUSED, (404, "RESOURCE_DOES_NOT_EXIST"), (200, "")}
    assert response.status_code != 200 or response.json() == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("runs/search", {"experiment_ids": ["0"], "filter": "tags.t = 'q\0q'"}),
        ("experiments/search", {"max_results": 1, "filter": "name = 'q\0q'"}),
        ("logged-models/search", {"experiment_ids": ["0"], "filter": "name = 'q\0q'"}),
    ],
)
def test_a_nul_in_a_filter_finds_nothing(rest: Rest, path: str, body: Json) -> None:
    response = rest.call("POST", path, json=body)

    assert judged(response) in {REFUSED, (200, "")}
    assert response.status_code != 200 or response.json() == {}


@pytest.mark.departure("stock drops half a character's text and stores what it has then, which is nothing")
@pytest.mark.parametrize("path", ["runs/set-tag", "runs/log-parameter"])
def test_half_a_character_is_refused(rest: Rest, run_id: str, path: str) -> None:
    before = factories.get_run(rest, run_id)
    body = b'{"run_id": "%s", "key": "t", "value": "\\ud800"}' % run_id.encode()

    assert judged(rest.send(path, body)) == REFUSED
    assert factories.get_run(rest, run_id) == before


def test_bytes_that_are_no_text_write_nothing(rest: Rest, run_id: str) -> None:
    before = factories.get_run(rest, run_id)
    body = b'{"run_id": "%s", "key": "t", "value": "\xff"}' % run_id.encode()

    assert judged(rest.send("runs/set-tag", body)) == REFUSED
    assert factories.get_run(rest, run_id) == before


@pytest.mark.parametrize("query", ["run_id=%ff", "run_id=a&metric_key=%c3%28", "run_id=%00", "%ff=1", "=&&=&run_id"])
def test_a_query_that_is_no_text_is_answered(rest: Rest, query: str) -> None:
    assert judged(rest.call("GET", f"runs/get?{query}"))[0] in {400, 404}


@pytest.mark.departure("stock answers 500 with the text of its database driver")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("experiments/delete", {"experiment_id": HUGE_ID}),
        ("experiments/set-experiment-tag", {"experiment_id": HUGE_ID, "key": "a", "value": "1"}),
        ("runs/create", {"experiment_id": HUGE_ID}),
        ("logged-models", {"experiment_id": HUGE_ID}),
    ],
)
def test_an_experiment_id_beyond_64_bits_is_not_found(rest: Rest, path: str, body: Json) -> None:
    assert judged(rest.call("POST", path, json=body)) in {REFUSED, (404, "RESOURCE_DOES_NOT_EXIST")}


@pytest.mark.departure("stock answers 500 with the text of its database driver")
@pytest.mark.parametrize("path", ["runs/search", "logged-models/search"])
def test_a_search_of_an_experiment_beyond_64_bits_finds_nothing(rest: Rest, path: str) -> None:
    response = rest.call("POST", path, json={"experiment_ids": [HUGE_ID]})

    assert judged(response) in {REFUSED, (200, "")}
    assert response.status_code != 200 or response.json() == {}


@pytest.mark.parametrize("experiment_id", ["1" * 5000, "-1", "-0x1", "1e3", "𝟙x", "1;DROP TABLE runs", "' OR 1=1 --"])
def test_an_odd_experiment_id_is_not_found(rest: Rest, experiment_id: str) -> None:
    response = rest.call("GET", "experiments/get", params={"experiment_id": experiment_id})

    assert judged(response) in {REFUSED, (404, "RESOURCE_DOES_NOT_EXIST")}


@pytest.mark.departure("stock answers 500")
def test_a_number_of_400_digits_is_no_metric(rest: Rest, run_id: str) -> None:
    body = b'{"run_id": "%s", "key": "m", "timestamp": 1, "value": 1%s}' % (run_id.encode(), b"0" * 400)

    assert judged(rest.send("runs/log-metric", body)) == REFUSED
    assert factories.metrics_of(rest, run_id) == {}


def test_a_number_of_5000_digits_is_no_time(rest: Rest, run_id: str) -> None:
    body = b'{"run_id": "%s", "key": "m", "timestamp": 1%s, "value": 1}' % (run_id.encode(), b"0" * 5000)

    assert judged(rest.send("runs/log-metric", body)) == REFUSED
    assert factories.metrics_of(rest, run_id) == {}


@pytest.mark.departure("stock answers 503 when a filter has more clauses than its database joins tables")
def test_a_filter_of_many_clauses_is_answered_or_refused(rest: Rest) -> None:
    clauses = " AND ".join(f"params.p{number} = 'x'" for number in range(70))

    response = rest.call("POST", "runs/search", json={"experiment_ids": ["0"], "filter": clauses})

    assert judged(response) in {REFUSED, (200, "")}


@pytest.mark.parametrize(
    "clause",
    [
        "tags.t = '" + "x" * 20_000 + "'",
        "tags.t LIKE '" + "%a" * 500 + "'",
        "run_id IN (" + ", ".join(f"'{number}'" for number in range(1000)) + ")",
        "(" * 500 + "tags.t = 'x'" + ")" * 500,
        "tags.t = '" * 41,
        "`" * 200,
        "tags.t = 'x'; DROP TABLE runs; --",
        "tags.t = 'x' UNION SELECT * FROM runs",
    ],
    ids=lambda clause: clause[:20],
)
def test_an_odd_filter_is_answered_or_refused(rest: Rest, clause: str) -> None:
    response = rest.call("POST", "runs/search", json={"experiment_ids": ["0"], "filter": clause})

    assert judged(response) in {REFUSED, (200, "")}


def _sent_with_each(rest: Rest, route: Route, name: str, values: tuple[Any, ...]) -> list[httpx.Response]:
    bodies = [json.dumps({**route.well_formed(), name: value}) for value in values]
    return [rest.call(route.method, route.filled(), content=body, headers=JSON_TYPE) for body in bodies]
