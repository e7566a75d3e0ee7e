"""Every tracking and registry route answers, under both prefixes, and says which of its fields is missing."""

import csv
from pathlib import Path

import httpx
import pytest

from tests.compat import routes, texts
from tests.compat.rest import Rest, invalid, refusal
from tests.compat.routes import Route

TABLE = Path(__file__).with_name("mlflow_rest_3_18.csv")
AREAS = {"experiments", "runs", "metrics", "logged-models", "registered-models", "model-versions", "server"}
ARTIFACT_ROUTES = {
    ("GET", "/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"),
    ("GET", "/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories"),
}
TWO_PREFIXES = tuple(route for route in routes.API if route.path.startswith("/api/"))
REQUIRED = [(route, name) for route in routes.API for name in route.required]
NO_TEXTS = {"experiment_ids", "models", "run_ids", "status", "timestamp"}


def test_this_suite_knows_every_route_of_the_first_tier() -> None:
    with TABLE.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tier"] == "T1" and row["area"] in AREAS]

    assert {(route.method, route.path) for route in routes.ALL} == {
        (row["method"], row["path"]) for row in rows
    } - ARTIFACT_ROUTES


@pytest.mark.parametrize("route", routes.ALL, ids=lambda route: route.name)
def test_every_route_grants_its_example(rest: Rest, route: Route) -> None:
    world = routes.new_world(rest)
    _prepare(rest, route, world)

    response = _request(rest, route, route.filled(world.model_id), route.example(world))

    assert response.status_code == 200, response.text


@pytest.mark.parametrize("route", TWO_PREFIXES, ids=lambda route: route.name)
def test_every_route_is_the_same_under_the_prefix_of_the_web_ui(rest: Rest, route: Route) -> None:
    world = routes.new_world(rest)
    _prepare(rest, route, world)
    path = route.filled(world.model_id).replace("/api/", "/ajax-api/", 1)

    response = _request(rest, route, path, route.example(world))

    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("route", "name"), REQUIRED, ids=lambda value: getattr(value, "name", value))
def test_a_missing_field_is_named(rest: Rest, route: Route, name: str) -> None:
    others = {required: value for required, value in route.well_formed().items() if required != name}

    response = _request(rest, route, route.filled(), others)

    assert refusal(response) == invalid(texts.missing(name))


@pytest.mark.parametrize(
    ("route", "name"),
    [(route, name) for route, name in REQUIRED if name not in NO_TEXTS],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_empty_text_is_a_missing_field(rest: Rest, route: Route, name: str) -> None:
    response = _request(rest, route, route.filled(), route.well_formed() | {name: ""})

    assert refusal(response) == invalid(texts.missing(name))


@pytest.mark.parametrize(
    ("route", "name"),
    [(route, name) for route, name in REQUIRED if route.method != "GET"],
    ids=lambda value: getattr(value, "name", value),
)
def test_null_is_a_missing_field(rest: Rest, route: Route, name: str) -> None:
    response = _request(rest, route, route.filled(), route.well_formed() | {name: None})

    assert refusal(response) == invalid(texts.missing(name))


@pytest.mark.parametrize(
    "route", [route for route in routes.API if len(route.required) > 1], ids=lambda route: route.name
)
def test_the_first_missing_field_is_named_first(rest: Rest, route: Route) -> None:
    response = _request(rest, route, route.filled(), {})

    assert refusal(response) == invalid(texts.missing(route.required[0]))


def _prepare(rest: Rest, route: Route, world: routes.World) -> None:
    if route.path.endswith("/delete-experiment-tag"):
        rest.post("experiments/set-experiment-tag", experiment_id=world.experiment_id, key="group", value="1")


def _request(rest: Rest, route: Route, path: str, body: dict[str, object]) -> httpx.Response:
    if route.method == "GET":
        return rest.call("GET", path, params=body)
    if route.method == "DELETE" and not route.kinds:
        return rest.call("DELETE", path)
    return rest.call(route.method, path, json=body)
