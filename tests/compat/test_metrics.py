"""Metrics: what a value may be, and which point of several is the latest."""

import pytest

from tests.compat import factories, texts
from tests.compat.factories import LARGEST, log_metric, metric, new_run_with
from tests.compat.rest import Json, Rest, invalid, not_found
from tests.compat.sampling import Point, points_of

VALUES: list[tuple[object, object]] = [
    (1, 1.0),
    (0.1, 0.1),
    (-0.0, 0.0),
    (5e-324, 5e-324),
    (LARGEST, LARGEST),
    (2**64, 1.8446744073709552e19),
    ("1.5", 1.5),
    ("-2e3", -2000.0),
    (True, 1.0),
    (False, 0.0),
    ("NaN", "NaN"),
    ("Infinity", LARGEST),
    ("-Infinity", -LARGEST),
    ("inf", LARGEST),
    ("-inf", -LARGEST),
    ("1e400", LARGEST),
]
LATEST: dict[str, tuple[list[Point], Point]] = {
    "greater step": ([(1.0, 99, 4), (2.0, 10, 5)], (2.0, 10, 5)),
    "smaller step": ([(1.0, 10, 5), (2.0, 99, 4)], (1.0, 10, 5)),
    "negative steps": ([(1.0, 10, -1), (2.0, 10, -2)], (1.0, 10, -1)),
    "greater timestamp": ([(2.0, 9, 5), (1.0, 10, 5)], (1.0, 10, 5)),
    "smaller timestamp": ([(1.0, 10, 5), (2.0, 9, 5)], (1.0, 10, 5)),
    "greater value": ([(1.0, 10, 5), (2.0, 10, 5)], (2.0, 10, 5)),
    "smaller value": ([(2.0, 10, 5), (1.0, 10, 5)], (2.0, 10, 5)),
    "NaN after less than 0": ([(-1.0, 10, 5), ("NaN", 10, 5)], ("NaN", 10, 5)),
    "NaN after 0": ([(0.0, 10, 5), ("NaN", 10, 5)], (0.0, 10, 5)),
    "NaN after more than 0": ([(1.0, 10, 5), ("NaN", 10, 5)], (1.0, 10, 5)),
    "less than 0 after NaN": ([("NaN", 10, 5), (-1.0, 10, 5)], ("NaN", 10, 5)),
    "0 after NaN": ([("NaN", 10, 5), (0.0, 10, 5)], ("NaN", 10, 5)),
    "more than 0 after NaN": ([("NaN", 10, 5), (1.0, 10, 5)], (1.0, 10, 5)),
    "NaN at a later step": ([(1.0, 10, 5), ("NaN", 10, 6)], ("NaN", 10, 6)),
    "after infinity": ([("Infinity", 10, 5), (1.0, 10, 5)], (LARGEST, 10, 5)),
    "after minus infinity": ([("-Infinity", 10, 5), (1.0, 10, 5)], (1.0, 10, 5)),
}


@pytest.mark.parametrize(("given", "kept"), VALUES, ids=str)
def test_a_value_is_kept_as(rest: Rest, run_id: str, given: object, kept: object) -> None:
    assert log_metric(rest, run_id, value=given) == {}

    assert factories.metrics_of(rest, run_id) == {"m": {"key": "m", "value": kept, "timestamp": 1, "step": 0}}
    assert points_of(factories.history_of(rest, run_id)) == [(kept, 1, 0)]


@pytest.mark.parametrize(("given", "kept"), VALUES, ids=str)
def test_a_value_in_a_batch_is_kept_as(rest: Rest, run_id: str, given: object, kept: object) -> None:
    rest.post("runs/log-batch", run_id=run_id, metrics=[metric() | {"value": given}])

    assert factories.metrics_of(rest, run_id)["m"]["value"] == kept


@pytest.mark.parametrize("number", [7, "7", 7.0, 2**63 - 1])
def test_times_and_steps_may_be_numbers_or_their_texts(rest: Rest, run_id: str, number: object) -> None:
    log_metric(rest, run_id, timestamp=number, step=number)

    point = factories.metrics_of(rest, run_id)["m"]
    assert (point["timestamp"], point["step"]) == (int(str(number).removesuffix(".0")),) * 2
    assert type(point["timestamp"]) is int


@pytest.mark.parametrize("fields", [{}, {"step": None}], ids=str)
def test_the_step_is_0_unless_given(rest: Rest, run_id: str, fields: Json) -> None:
    log_metric(rest, run_id, timestamp=0, **fields)

    assert factories.metrics_of(rest, run_id)["m"] == metric(timestamp=0, step=0)


def test_a_step_may_be_negative(rest: Rest, run_id: str) -> None:
    log_metric(rest, run_id, step=-3)

    assert factories.metrics_of(rest, run_id)["m"]["step"] == -3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": "a$"}, texts.bad_characters("name", "a$")),
        ({"key": "/a"}, texts.bad_path("name", "/a", "/a")),
        ({"key": "k" * 251}, texts.too_long("Metric name", 250)),
        ({"timestamp": -1}, texts.negative_timestamp("timestamp", key="m", value=1.0, timestamp=-1)),
        ({"value": "abc"}, texts.wrong_type("value", "abc")),
        ({"value": "0x10"}, texts.wrong_type("value", "0x10")),
        ({"timestamp": "abc"}, texts.wrong_type("timestamp", "abc")),
        ({"step": "x"}, texts.wrong_type("step", "x")),
        ({"key": 5}, texts.wrong_type("key", 5)),
        ({"run_id": 5}, texts.wrong_type("run_id", 5)),
        ({"model_id": 5}, texts.wrong_type("model_id", 5)),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_metric_is_refused(rest: Rest, run_id: str, fields: Json, message: str) -> None:
    body = {"run_id": run_id, "key": "m", "value": 1, "timestamp": 1, **fields}

    assert rest.refused_post("runs/log-metric", **body) == invalid(message)
    assert factories.metrics_of(rest, run_id) == {}


def test_a_metric_needs_a_run(rest: Rest) -> None:
    refused = rest.refused_post("runs/log-metric", run_id="nope", key="m", value=1, timestamp=1)

    assert refused == not_found(texts.no_run("nope"))


@pytest.mark.departure("stock reads no further and stores 0.0, or 0 for the time or step")
@pytest.mark.parametrize(
    "field",
    [
        b'"value": NaN',
        b'"value": Infinity',
        b'"value": -Infinity',
        b'"value": 1e400',
        b'"value": "nan"',
        b'"timestamp": 1.5',
        b'"timestamp": 9223372036854775808',
        b'"timestamp": true',
        b'"step": 1.5',
        b'"step": 9223372036854775808',
        b'"step": true',
    ],
    ids=lambda field: field.decode(),
)
def test_a_number_that_cannot_be_read_is_refused(rest: Rest, run_id: str, field: bytes) -> None:
    name = field.split(b'"')[1].decode()
    others = {"value": b'"value": 1', "timestamp": b'"timestamp": 1', "step": b'"step": 1'} | {name: field}
    body = b'{"run_id": "%s", "key": "m", %s}' % (run_id.encode(), b", ".join(others.values()))

    refused = rest.refused_bytes("runs/log-metric", body)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert factories.metrics_of(rest, run_id) == {}


@pytest.mark.departure("stock answers 500")
@pytest.mark.parametrize("name", ["value", "timestamp", "step"])
@pytest.mark.parametrize("value", [[1], {"a": 1}], ids=str)
def test_a_list_is_no_number(rest: Rest, run_id: str, name: str, value: object) -> None:
    body = {"run_id": run_id, "key": "m", "value": 1, "timestamp": 1, name: value}

    refused = rest.refused_post("runs/log-metric", **body)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert name in refused.message


@pytest.mark.parametrize("case", LATEST)
def test_the_latest_point_is_greatest_in_step_then_timestamp_then_value(rest: Rest, run_id: str, case: str) -> None:
    points, latest = LATEST[case]

    for value, timestamp, step in points:
        log_metric(rest, run_id, value=value, timestamp=timestamp, step=step)

    assert points_of(list(factories.metrics_of(rest, run_id).values())) == [latest]


@pytest.mark.parametrize("case", LATEST)
def test_the_latest_point_within_a_batch_is_chosen_alike(rest: Rest, case: str) -> None:
    points, latest = LATEST[case]

    run_id = new_run_with(rest, points)

    assert points_of(list(factories.metrics_of(rest, run_id).values())) == [latest]


def test_a_point_logged_twice_is_kept_once(rest: Rest, run_id: str) -> None:
    for _ in range(2):
        log_metric(rest, run_id)
        log_metric(rest, run_id, value="NaN")

    assert points_of(factories.history_of(rest, run_id)) == [("NaN", 1, 0), (1.0, 1, 0)]


def test_points_of_a_batch_that_are_there_already_are_kept_once(rest: Rest, run_id: str) -> None:
    factories.log(rest, run_id, metrics=[metric(), metric(), metric(value="NaN"), metric(value="NaN")])

    factories.log(rest, run_id, metrics=[metric(), metric(value=2.0), metric(value="NaN")])

    assert points_of(factories.history_of(rest, run_id)) == [("NaN", 1, 0), (1.0, 1, 0), (2.0, 1, 0)]
