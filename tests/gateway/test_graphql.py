"""`/graphql` answers the queries of MLflow's web UI, with bounds on what a query may be."""

from typing import Any

import pytest

from tests.gateway.harness import JSON, Platform

pytestmark = pytest.mark.usefixtures("lingering")

GET_RUN = """
query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetRun(input: $data) {
    __typename
    apiError { code message helpUrl }
    run { info { runUuid startTime endTime } data { metrics { key value } } modelVersions { name } }
  }
}
"""


async def ask(running: Platform, query: str, variables: Any = None, **headers: str) -> Any:
    body = {"query": query, "variables": variables, "operationName": None}
    response = await running.client.post("/graphql", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_query_is_answered_in_its_own_form(running: Platform) -> None:
    query = "query Q($data: I!) { it: mlflowGetRun(input: $data) { run { info { id: runId startTime endTime } } } }"

    told = await ask(running, query, {"data": {"runId": "r1"}})

    info = {"id": "r1", "startTime": "7", "endTime": None}
    assert told == {"data": {"it": {"run": {"info": info}}}, "errors": None}
    assert running.script.requests[-1].run_id == "r1"


async def test_a_query_in_the_query_string_is_answered(running: Platform) -> None:
    query = '{ mlflowGetRun(input: {runId: "r2"}) { run { info { runId } } } }'

    response = await running.client.get("/graphql", params={"query": query})

    assert response.json()["data"] == {"mlflowGetRun": {"run": {"info": {"runId": "r2"}}}}


async def test_what_the_api_refuses_is_told_as_its_error(running: Platform) -> None:
    # That backend has no experiments.
    told = await ask(
        running,
        "query Q($data: I!) { mlflowGetRun(input: $data) { apiError { code } run { experiment { name } } } }",
        {"data": {"runId": "r1"}},
    )

    assert told["data"] == {"mlflowGetRun": {"apiError": {"code": "NOT_IMPLEMENTED"}, "run": None}}


async def test_a_run_is_told_of_while_the_registry_is_away(running: Platform) -> None:
    # That backend has no registry.
    told = await ask(running, GET_RUN, {"data": {"runId": "r1"}})

    found = told["data"]["mlflowGetRun"]
    assert found["apiError"] is None
    assert found["run"]["info"]["startTime"] == "7"
    assert found["run"]["modelVersions"] == []


async def test_the_callers_credentials_are_passed_on(guarded: Platform) -> None:
    refused = await guarded.client.post("/graphql", json={"query": GET_RUN})
    assert refused.status_code == 401

    key = "Bearer a-key-of-32-characters-or-so-0000"
    query = '{ mlflowGetRun(input: {runId: "r1"}) { run { info { runId } } } }'
    await ask(guarded, query, authorization=key)

    assert guarded.script.metadata["authorization"] == key


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("{ mlflowGetRun(input: {}) { run { info { nothing } } } }", "Cannot query field 'nothing'"),
        ("{ nothing(input: {}) { run } }", "Cannot query field 'nothing' on type 'QueryType'"),
        ("mutation { mlflowGetRun(input: {}) { run { info { runId } } } }", "Only queries are served"),
        ("{ mlflowGetRun(input: {}) { run } }", "must have a selection"),
        ("{ mlflowGetRun(input: {}) { run { info { runId { x } } } } }", "must not have a selection"),
        ("{ mlflowGetRun { run { info { runId } } } }", "takes one argument, 'input'"),
        ("{ mlflowGetRun(input: $data) { run { info { runId } } } }", "Variable '$data' is not defined"),
        ("{ mlflowGetRun(input: {}) { ...F } } fragment F on X { run }", "Fragments are not served"),
        ("{ mlflowGetRun(input: {}) { run { info { runId } }", "found <EOF>"),
        ("{ % }", "Unexpected character: '%'"),
        ("{ a @skip(if: true) }", "Unknown directive '@skip'"),
        ("{a" * 11 + "}" * 11, "exceeds maximum depth of 10"),
        ("{a" * 5000 + "}" * 5000, "nested too deeply"),
        ("{ mlflowGetRun(input: " + "[" * 11 + "]" * 11 + ") { a } }", "exceeds maximum depth of 10"),
        ("{ mlflowGetRun(input: {}) {" + " a" * 200 + "} }", "exceeds maximum total selections of 200"),
        ("{ mlflowGetRun(input: {}) {" + " a: b" * 11 + "} }", "at most 10 aliases"),
        ("{" + " a" * 6 + "}", "at most 5 root fields"),
        ("#" * 16_385, "exceeds 16384 characters"),
    ],
)
async def test_a_query_past_what_is_served_is_told_why(running: Platform, query: str, complaint: str) -> None:
    told = await ask(running, query)

    assert told["data"] is None
    assert complaint in told["errors"][0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[]", 400),
        (b"{", 400),
        (b"{}", 400),
        (b'{"query": "{a}", "variables": 1}', 400),
        (b'{"query": "' + b" " * 1024 * 1024 + b'"}', 413),
    ],
)
async def test_a_body_that_is_no_query_is_refused(running: Platform, body: bytes, status: int) -> None:
    response = await running.client.post("/graphql", content=body, headers=JSON)

    assert response.status_code == status
    assert response.json()["error_code"] == "INVALID_PARAMETER_VALUE"


async def test_pages_of_other_sites_cannot_ask(running: Platform) -> None:
    for headers in ({"origin": "http://elsewhere.example"}, {"host": "elsewhere.example"}):
        response = await running.client.post("/graphql", json={"query": GET_RUN}, headers=headers)
        assert response.status_code == 403

    response = await running.client.post("/graphql", content=b"{}", headers={"content-type": "text/plain"})
    assert response.status_code == 400
