"""Logging in batches: limits, checks and their order, and that a batch is taken whole or not at all."""

import json
from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.factories import metric
from tests.compat.rest import Json, Rest, invalid, not_found

PATH = "runs/log-batch"


def params(count: int) -> list[Json]:
    return factories.pairs({f"p{number}": "1" for number in range(count)})


def metrics(count: int) -> list[Json]:
    return [metric(step=step) for step in range(count)]


def too_many(what: str, *, limit: int, count: int) -> str:
    return (
        f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up {what}"
        " across multiple requests and try again."
    )


EVERYTHING = "metrics, params, and tags"
LIMITS = {
    "metrics": ({"metrics": metrics(1001)}, too_many("metrics", limit=1000, count=1001)),
    "params": ({"params": params(101)}, too_many("params", limit=100, count=101)),
    "tags": ({"tags": params(101)}, too_many("tags", limit=100, count=101)),
    "all": ({"metrics": metrics(901), "params": params(100), "tags": []}, too_many(EVERYTHING, limit=1000, count=1001)),
    "metrics first": (
        {"metrics": metrics(1001), "params": params(101), "tags": params(101)},
        too_many("metrics", limit=1000, count=1001),
    ),
    "params before tags": ({"params": params(101), "tags": params(101)}, too_many("params", limit=100, count=101)),
}
LONG_KEY = "k" * 251
REFUSED: dict[str, tuple[Json, str]] = {
    "metric without key": ({"metrics": [{"value": 1, "timestamp": 1}]}, texts.missing("metrics[0].key")),
    "metric with empty key": ({"metrics": [metric(key="")]}, texts.missing("metrics[0].key")),
    "metric without value": ({"metrics": [{"key": "a", "timestamp": 1}]}, texts.missing("metrics[0].value")),
    "metric with empty value": ({"metrics": [metric(value="")]}, texts.missing("metrics[0].value")),
    "second metric without timestamp": (
        {"metrics": [metric(), {"key": "a", "value": 1}]},
        texts.missing("metrics[1].timestamp"),
    ),
    "metric key": ({"metrics": [metric(), metric(key="a$")]}, texts.bad_characters("metrics[1].name", "a$")),
    "metric path": ({"metrics": [metric(key="../a")]}, texts.bad_path("metrics[0].name", "../a", "../a")),
    "metric key length": ({"metrics": [metric(key=LONG_KEY)]}, texts.too_long("Metric name", 250)),
    "metric timestamp": (
        {"metrics": [metric(), metric(timestamp=-1)]},
        texts.negative_timestamp("metrics[1].timestamp", key="m", value=1.0, timestamp=-1),
    ),
    "param without key": ({"params": [{"value": "1"}]}, texts.missing("params[0].key")),
    "param with empty key": ({"params": [*params(2), {"key": ""}]}, texts.missing("params[2].key")),
    "param key": ({"params": [*params(1), {"key": "a$"}]}, texts.bad_characters("params[1].key", "a$")),
    "param path": ({"params": [{"key": "a/../b"}]}, texts.bad_path("params[0].key", "a/../b", "b")),
    "param key length": ({"params": [{"key": LONG_KEY}]}, texts.too_long("Param key", 250)),
    "param twice": (
        {"params": [*params(3), *params(2)]},
        (
            "Duplicate parameter keys have been submitted: ['p0', 'p1']. Please ensure the request contains only one"
            " param value per param key."
        ),
    ),
    "tag without key": ({"tags": [*params(1), {"value": "1"}]}, texts.missing("tags[1].key")),
    "tag key": ({"tags": [{"key": "a$"}]}, texts.bad_characters("tags[0].key", "a$")),
    "tag key length": ({"tags": [*params(1), {"key": LONG_KEY}]}, texts.too_long("tags[1].key", 250)),
    "metrics as text": ({"metrics": "x"}, texts.wrong_type("metrics", "x")),
    "metrics as object": ({"metrics": {"a": 1}}, texts.wrong_type("metrics", {"a": 1})),
    "params as text": ({"params": "x"}, texts.wrong_type("params", "x")),
    "tags as number": ({"tags": 5}, texts.wrong_type("tags", 5)),
    **LIMITS,
}
ORDERED_CHECKS: dict[str, tuple[Json, str]] = {
    "metric before param": (
        {"metrics": [metric(key="m$")], "params": [{"key": "p$"}], "tags": [{"key": "t$"}]},
        texts.bad_characters("metrics[0].name", "m$"),
    ),
    "param before tag": (
        {"params": [{"key": "p$"}], "tags": [{"key": "t$"}]},
        texts.bad_characters("params[0].key", "p$"),
    ),
    "content before limits": (
        {"metrics": [metric(key="m$"), *metrics(1000)]},
        texts.bad_characters("metrics[0].name", "m$"),
    ),
    "limits before duplicates": (
        {"params": [*params(100), *params(1)]},
        too_many("params", limit=100, count=101),
    ),
}


def test_a_batch_is_logged_whole(rest: Rest, run_id: str) -> None:
    answer = rest.post(
        PATH, run_id=run_id, metrics=[metric("a", 0.5, 7, 3), metric("b")], params=params(2), tags=params(1)
    )

    run = factories.get_run(rest, run_id)["data"]
    assert answer == {}
    assert factories.as_dict(run["params"]) == {"p0": "1", "p1": "1"}
    assert factories.as_dict(run["tags"])["p0"] == "1"
    assert {point["key"]: point for point in run["metrics"]} == {"a": metric("a", 0.5, 7, 3), "b": metric("b")}


@pytest.mark.parametrize("body", [{}, {"metrics": [], "params": [], "tags": []}], ids=str)
def test_an_empty_batch_is_granted(rest: Rest, run_id: str, body: Json) -> None:
    before = factories.get_run(rest, run_id)

    assert rest.post(PATH, run_id=run_id, **body) == {}

    assert factories.get_run(rest, run_id) == before


@pytest.mark.parametrize(
    "body",
    [
        {"metrics": metrics(1000)},
        {"params": params(100)},
        {"tags": params(100)},
        {"metrics": metrics(800), "params": params(100), "tags": params(100)},
    ],
    ids=["metrics", "params", "tags", "all"],
)
def test_a_batch_may_be_this_large(rest: Rest, run_id: str, body: Json) -> None:
    assert rest.post(PATH, run_id=run_id, **body) == {}

    assert len(factories.history_of(rest, run_id)) == len(body.get("metrics", []))
    assert len(factories.params_of(rest, run_id)) == len(body.get("params", []))


@pytest.mark.parametrize("case", REFUSED)
def test_a_batch_is_refused_and_nothing_of_it_kept(rest: Rest, run_id: str, case: str) -> None:
    body, message = REFUSED[case]
    before = factories.get_run(rest, run_id)

    refused = rest.refused_post(PATH, **_with_good_company(body), run_id=run_id)

    assert refused == invalid(message)
    assert factories.get_run(rest, run_id) == before


@pytest.mark.parametrize("case", ORDERED_CHECKS)
def test_checks_come_in_this_order(rest: Rest, case: str) -> None:
    body, message = ORDERED_CHECKS[case]

    assert rest.refused_post(PATH, run_id=factories.UNKNOWN_RUN, **body) == invalid(message)


@pytest.mark.parametrize("run_id", ["bad id", "a" * 257, "-x", "../x", "a/b", "é x"])
def test_a_run_id_has_letters_digits_and_dashes(rest: Rest, run_id: str) -> None:
    shown = json.dumps(run_id)

    assert rest.refused_post(PATH, run_id=run_id) == invalid(f"Invalid value {shown} for parameter 'run_id' supplied.")


def test_an_unknown_run_is_not_found(rest: Rest) -> None:
    assert rest.refused_post(PATH, run_id="nope", metrics=[metric()]) == not_found(texts.no_run("nope"))


def test_long_values_are_cut(rest: Rest, run_id: str) -> None:
    factories.log(rest, run_id, params={"p": "é" * 6001}, tags={"t": "é" * 8001})

    assert factories.params_of(rest, run_id) == {"p": "é" * 6000}
    assert factories.tags_of(rest, run_id)["t"] == "é" * 8000


def test_values_may_be_left_out(rest: Rest, run_id: str) -> None:
    rest.post(PATH, run_id=run_id, params=[{"key": "p"}], tags=[{"key": "t"}])

    assert factories.params_of(rest, run_id) == {"p": ""}
    assert factories.tags_of(rest, run_id)["t"] == ""


def test_the_last_of_several_tags_with_one_key_wins(rest: Rest, run_id: str) -> None:
    rest.post(PATH, run_id=run_id, tags=[{"key": "t", "value": "1"}, {"key": "t", "value": "2"}])

    assert factories.tags_of(rest, run_id)["t"] == "2"


def test_params_logged_again_with_their_values_are_granted(rest: Rest, run_id: str) -> None:
    factories.log(rest, run_id, params={"a": "1"})

    rest.post(PATH, run_id=run_id, params=factories.pairs({"a": "1", "b": "2"}))

    assert factories.params_of(rest, run_id) == {"a": "1", "b": "2"}


def test_a_changed_param_refuses_the_whole_batch(rest: Rest, run_id: str) -> None:
    factories.log(rest, run_id, params={"a": "1", "b": ""})
    before = factories.get_run(rest, run_id)

    refused = rest.refused_post(
        PATH,
        run_id=run_id,
        params=factories.pairs({"new": "1", "a": "it's", "b": 'a "b"\n'}),
        metrics=[metric()],
        tags=params(1),
    )

    assert refused == invalid(
        "Changing param values is not allowed. Params were already logged='["
        "{'key': 'a', 'old_value': '1', 'new_value': \"it's\"}, "
        "{'key': 'b', 'old_value': '', 'new_value': 'a \"b\"\\n'}"
        f"]' for run ID='{run_id}'."
    )
    assert factories.get_run(rest, run_id) == before


@pytest.mark.departure("stock keeps the params and the metrics, and answers BAD_REQUEST with the text of its SQL")
def test_an_unknown_model_refuses_the_whole_batch(rest: Rest, run_id: str) -> None:
    before = factories.get_run(rest, run_id)
    metrics = [metric("a"), metric("b", model_id=factories.UNKNOWN_MODEL)]

    refused = rest.refused_post(PATH, run_id=run_id, params=params(1), metrics=metrics, tags=params(1))

    assert refused.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
    assert factories.UNKNOWN_MODEL in refused.message
    assert factories.get_run(rest, run_id) == before


SWALLOWED: dict[str, Json] = {
    "value": {"metrics": [metric(value="abc")]},
    "value as list": {"metrics": [metric() | {"value": [1]}]},
    "step": {"metrics": [metric() | {"step": "abc"}]},
    "half a step": {"metrics": [metric() | {"step": 1.5}]},
    "half a timestamp": {"metrics": [metric() | {"timestamp": 1.5}]},
    "timestamp beyond 64 bits": {"metrics": [metric(timestamp=2**63)]},
    "param value": {"params": [{"key": "p", "value": 5}]},
    "tag value": {"tags": [{"key": "t", "value": 5}]},
}


@pytest.mark.departure("stock writes what stands before the field that it cannot read, and defaults after it")
@pytest.mark.parametrize("case", SWALLOWED)
def test_a_batch_with_an_unreadable_field_is_refused(rest: Rest, run_id: str, case: str) -> None:
    before = factories.get_run(rest, run_id)

    refused = rest.refused_post(PATH, run_id=run_id, **_with_good_company(SWALLOWED[case]))

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert factories.get_run(rest, run_id) == before


@pytest.mark.departure("stock answers 500")
@pytest.mark.parametrize("name", ["metrics", "params", "tags"])
@pytest.mark.parametrize("entries", [["x"], [[]], [5], [None]], ids=str)
def test_a_batch_of_anything_but_objects_is_refused(rest: Rest, run_id: str, name: str, entries: list[object]) -> None:
    refused = rest.refused_post(PATH, run_id=run_id, **{name: entries})

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.departure("stock answers 500, although a request without a body is an empty request everywhere else")
@pytest.mark.parametrize("content", [b"", b"null"])
def test_a_batch_without_a_body_lacks_its_run(rest: Rest, content: bytes) -> None:
    assert rest.refused_bytes(PATH, content) == invalid(texts.missing("run_id"))


def test_a_batch_of_a_million_bytes_is_taken(rest: Rest, run_id: str) -> None:
    body = {
        "run_id": run_id,
        "params": factories.pairs({f"p{number}": "p" * 6000 for number in range(100)}),
        "tags": factories.pairs({f"t{number}": "t" * 8000 for number in range(100)}),
    }
    assert len(json.dumps(body)) > 1_000_000

    assert rest.post(PATH, **body) == {}


def test_a_doubly_encoded_batch_has_at_most_a_million_bytes(rest: Rest, run_id: str) -> None:
    inner = json.dumps({"run_id": run_id, "tags": [], "padding": "x" * 1_000_000})

    refused = rest.refused_bytes(PATH, json.dumps(inner).encode())

    assert refused == invalid(
        f"Batched logging API requests must be at most 1000000 bytes, got a request of size {len(inner)}."
    )


def test_a_doubly_encoded_batch_is_taken(rest: Rest, run_id: str) -> None:
    inner = json.dumps({"run_id": run_id, "params": params(1)})

    assert rest.send(PATH, json.dumps(inner).encode()).status_code == 200

    assert factories.params_of(rest, run_id) == {"p0": "1"}


def test_autologging_in_its_usual_batches_adds_up(rest: Rest, run_id: str) -> None:
    """As `mlflow.autolog()` sends it: params by the hundred, then metrics of each epoch, then its tags."""
    for start in (0, 100):
        factories.log(rest, run_id, params={f"p{number}": str(number) for number in range(start, start + 100)})
    for epoch in range(5):
        factories.log(rest, run_id, metrics=[metric(f"metric{number}", epoch / 7, epoch, epoch) for number in range(9)])
    factories.log(rest, run_id, tags={"estimator_name": "RandomForestClassifier", "estimator_class": "sklearn"})

    assert factories.params_of(rest, run_id) == {f"p{number}": str(number) for number in range(200)}
    latest = factories.metrics_of(rest, run_id)
    assert latest == {f"metric{number}": metric(f"metric{number}", 4 / 7, 4, 4) for number in range(9)}
    assert len(factories.history_of(rest, run_id, "metric3")) == 5


def _with_good_company(body: Json) -> dict[str, Any]:
    """Add what would be written were the rest of the batch not refused."""
    return {"params": factories.pairs({"good": "1"}), "tags": factories.pairs({"good": "1"}), **body}
