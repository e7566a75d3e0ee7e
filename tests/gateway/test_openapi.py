"""The OpenAPI document describes every route and hangs together."""

from collections.abc import Iterator
from typing import Any

import openapi_spec_validator
import pytest

from services.gateway import openapi
from services.gateway.catalog import backends
from services.gateway.routes import RouteTable
from services.gateway.settings import Settings

Json = dict[str, Any]


@pytest.fixture(scope="module")
def table() -> RouteTable:
    return RouteTable(backends(Settings()))


@pytest.fixture(scope="module")
def document(table: RouteTable) -> Json:
    return openapi.document(table.routes)


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(document: Json, reference: str) -> Any:
    value: Any = document
    for name in reference.removeprefix("#/").split("/"):
        value = value[name]
    return value


def test_the_document_is_valid_openapi(document: Json) -> None:
    openapi_spec_validator.validate(document)


def test_every_route_is_described(table: RouteTable, document: Json) -> None:
    assert {(verb.upper(), path) for path, verb, _ in operations(document)} == {
        (route.verb, route.path.replace("=**", "")) for route in table.routes
    }


def test_operations_have_names_of_their_own(document: Json) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere(document: Json) -> None:
    assert all(resolved(document, reference) for reference in references(document))


def test_variables_of_a_path_are_parameters(document: Json) -> None:
    for path, _, operation in operations(document):
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert named == {segment[1:-1] for segment in path.split("/") if segment.startswith("{")}


def test_a_request_says_what_it_requires(document: Json) -> None:
    operation = document["paths"]["/api/2.0/mlflow/runs/log-batch"]["post"]
    request = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"]["$ref"])

    assert request["required"] == ["run_id"]
    assert request["properties"]["metrics"]["type"] == "array"
    row = resolved(document, request["properties"]["metrics"]["items"]["$ref"])
    assert row["required"] == ["key", "value", "timestamp"]
    assert row["properties"]["step"] == {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}


def test_a_get_takes_a_query(document: Json) -> None:
    parameters = document["paths"]["/api/2.0/mlflow/runs/get"]["get"]["parameters"]

    assert parameters == [{"name": "run_id", "in": "query", "required": True, "schema": {"type": "string"}}]


def test_what_creates_takes_an_idempotency_key(document: Json) -> None:
    parameters = document["paths"]["/api/2.0/mlflow/runs/create"]["post"]["parameters"]

    assert [parameter["name"] for parameter in parameters] == ["Idempotency-Key"]


def test_errors_are_described(document: Json) -> None:
    responses = document["paths"]["/api/2.0/mlflow/runs/get"]["get"]["responses"]

    assert set(responses) == {"200", "400", "401", "403", "404", "429", "500", "503"}
    error = resolved(document, responses["404"]["content"]["application/json"]["schema"]["$ref"])
    assert error["required"] == ["error_code", "message"]


def test_a_raw_body_is_bytes_and_the_rest_are_parameters(document: Json) -> None:
    operation = document["paths"]["/api/2.0/mlflow-artifacts/artifacts/{path}"]["put"]

    assert operation["requestBody"] == {"required": True, "content": {"*/*": {}}}
    assert [(parameter["name"], parameter["in"], parameter["required"]) for parameter in operation["parameters"]] == [
        ("path", "path", True),
        ("X-Modelstead-Sha256", "header", False),
    ]
    assert "content" not in operation["responses"]["200"]


def test_a_raw_answer_is_bytes_or_a_part_of_them(document: Json) -> None:
    operation = document["paths"]["/get-artifact"]["get"]

    assert {"200", "206", "304", "416"} <= set(operation["responses"])
    assert operation["responses"]["200"]["content"] == {"*/*": {}}
    assert [(parameter["name"], parameter["in"]) for parameter in operation["parameters"]] == [
        ("run_id", "query"),
        ("path", "query"),
        ("Range", "header"),
        ("If-None-Match", "header"),
        ("If-Range", "header"),
    ]


def test_what_only_a_header_fills_is_no_property_of_a_body(document: Json) -> None:
    operation = document["paths"]["/api/2.0/mlflow/runs/create"]["post"]
    request = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"]["$ref"])

    assert "request_id" not in request["properties"]


def test_what_is_to_be_deleted_stands_in_a_body_or_a_query_where_the_path_does_not_say(document: Json) -> None:
    by_body = document["paths"]["/api/2.0/mlflow/registered-models/delete"]["delete"]
    by_path = document["paths"]["/api/2.0/mlflow/logged-models/{model_id}"]["delete"]

    request = resolved(document, by_body["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    assert list(request["properties"]) == ["name"]
    assert by_body["requestBody"]["required"] is False
    assert by_body["parameters"] == [{"name": "name", "in": "query", "required": False, "schema": {"type": "string"}}]
    assert "requestBody" not in by_path
