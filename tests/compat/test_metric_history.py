"""Histories of metrics: their order, their pages, and how long ones are thinned out."""

import random

import pytest

from tests.compat import factories, sampling, texts
from tests.compat.factories import LARGEST, log_metric, metric, new_run_with
from tests.compat.rest import AJAX, Json, Rest, invalid, refusal
from tests.compat.sampling import Point, points_of

HISTORY = "metrics/get-history"
BULK = f"{AJAX}metrics/get-history-bulk"
INTERVAL = "metrics/get-history-bulk-interval"
SEED = 20260101


def test_a_history_is_in_order_of_timestamp_then_step_then_value(rest: Rest) -> None:
    points: list[Point] = [
        (3.0, 5, 1),
        (1.0, 5, 1),
        (2.0, 4, 9),
        ("NaN", 5, 1),
        (1.0, 5, 0),
        (-1.0, 5, 1),
        ("Infinity", 5, 1),
        ("-Infinity", 5, 1),
    ]

    history = factories.history_of(rest, new_run_with(rest, points))

    assert points_of(history) == [
        (2.0, 4, 9),
        (1.0, 5, 0),
        (-LARGEST, 5, 1),
        (-1.0, 5, 1),
        ("NaN", 5, 1),
        (1.0, 5, 1),
        (3.0, 5, 1),
        (LARGEST, 5, 1),
    ]
    assert {entry["key"] for entry in history} == {"m"}


@pytest.mark.parametrize("query", [{"run_id": "nope", "metric_key": "m"}, {"metric_key": "other"}], ids=str)
def test_an_unknown_history_is_empty(rest: Rest, run_id: str, query: dict[str, str]) -> None:
    assert rest.get(HISTORY, **{"run_id": run_id, **query}) == {}


def test_a_history_is_read_by_either_name_of_the_run_id(rest: Rest, run_id: str) -> None:
    log_metric(rest, run_id)

    assert rest.get(HISTORY, run_uuid=run_id, metric_key="m") == {"metrics": [metric()]}


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_pages_hold_every_point_once(rest: Rest, size: int) -> None:
    points: list[Point] = [(float(number), number // 3, number) for number in range(7)]
    query = {"run_id": new_run_with(rest, points), "metric_key": "m", "max_results": size}

    pages = [rest.get(HISTORY, **query)]
    while token := pages[-1].get("next_page_token"):
        pages.append(rest.get(HISTORY, page_token=token, **query))

    assert [point for page in pages for point in points_of(page["metrics"])] == points
    assert len(pages) == -(-7 // size)


def test_a_token_without_a_size_reads_all_of_the_rest(rest: Rest) -> None:
    query = {"run_id": new_run_with(rest, [(1.0, 1, step) for step in range(5)]), "metric_key": "m"}
    token = rest.get(HISTORY, max_results=2, **query)["next_page_token"]

    rest_of_it = rest.get(HISTORY, page_token=token, **query)

    assert [entry["step"] for entry in rest_of_it["metrics"]] == [2, 3, 4]
    assert "next_page_token" not in rest_of_it


@pytest.mark.parametrize("size", [0, -1])
def test_a_page_of_a_history_holds_at_least_one(rest: Rest, run_id: str, size: int) -> None:
    refused = rest.refused_get(HISTORY, run_id=run_id, metric_key="m", max_results=size)

    assert refused == invalid(texts.not_positive(size) + ".")


@pytest.mark.parametrize("token", ["garbage", "e30=", "!"])
def test_a_made_up_token_is_refused(rest: Rest, run_id: str, token: str) -> None:
    refused = rest.refused_get(HISTORY, run_id=run_id, metric_key="m", page_token=token)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith("Invalid page token")


@pytest.mark.departure("stock reads any number as an offset into any history")
def test_a_token_of_another_history_is_refused(rest: Rest) -> None:
    run_id = new_run_with(rest, [(1.0, 1, step) for step in range(5)])
    token = rest.get(HISTORY, run_id=run_id, metric_key="m", max_results=2)["next_page_token"]

    refused = rest.refused_get(HISTORY, run_id=run_id, metric_key="other", max_results=2, page_token=token)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith("Invalid page token")


@pytest.mark.departure("stock ignores a size that is no number and answers without pages")
def test_a_size_that_is_no_number_is_refused(rest: Rest, run_id: str) -> None:
    refused = rest.refused_get(HISTORY, run_id=run_id, metric_key="m", max_results="x")

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


def test_bulk_histories_are_in_order_of_their_runs(rest: Rest) -> None:
    runs = [new_run_with(rest, [(1.0, 2, 0), (2.0, 1, 5), (3.0, 1, 4)]), new_run_with(rest, [(4.0, 1, 0)])]
    query = [("run_id", run) for run in reversed(runs)] + [("metric_key", "m")]

    answer = rest.call("GET", BULK, params=query).json()

    expected = {
        runs[0]: [metric(value=3.0, step=4), metric(value=2.0, step=5), metric(value=1.0, timestamp=2)],
        runs[1]: [metric(value=4.0)],
    }
    assert answer == {"metrics": [{**point, "run_id": run} for run in sorted(runs) for point in expected[run]]}


@pytest.mark.parametrize(("limit", "count"), [("2", 2), ("0", 0), ("3", 3), ("9999999", 3)])
def test_bulk_histories_hold_at_most_so_many_points_in_all(rest: Rest, limit: str, count: int) -> None:
    runs = [new_run_with(rest, [(1.0, 1, 0), (2.0, 2, 0)]), new_run_with(rest, [(4.0, 1, 0)])]
    query = [("run_id", run) for run in runs] + [("metric_key", "m"), ("max_results", limit)]

    assert len(rest.call("GET", BULK, params=query).json()["metrics"]) == count


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([], "GetMetricHistoryBulk request must specify at least one run_id."),
        ([("run_ids", "a"), ("metric_key", "m")], "GetMetricHistoryBulk request must specify at least one run_id."),
        ([("run_id", "a")], "GetMetricHistoryBulk request must specify a metric_key."),
        (
            [("run_id", "a")] * 101 + [("metric_key", "m")],
            "GetMetricHistoryBulk request cannot specify more than 100 run_ids. Received 101 run_ids.",
        ),
    ],
    ids=["nothing", "wrong name", "no key", "too many"],
)
def test_bulk_histories_are_refused(rest: Rest, query: list[tuple[str, str]], message: str) -> None:
    assert refusal(rest.call("GET", BULK, params=query)) == invalid(message)


def test_bulk_histories_of_unknown_runs_are_an_empty_list(rest: Rest) -> None:
    assert rest.get(BULK, run_id="nope", metric_key="m") == {"metrics": []}


@pytest.mark.departure("stock writes a bare NaN, which is not JSON")
def test_bulk_histories_spell_nan_as_every_other_answer_does(rest: Rest) -> None:
    run_id = new_run_with(rest, [("NaN", 1, 0)])

    assert rest.get(BULK, run_id=run_id, metric_key="m")["metrics"][0]["value"] == "NaN"


@pytest.mark.departure("stock answers 500")
def test_bulk_histories_need_a_number_as_their_size(rest: Rest, run_id: str) -> None:
    refused = rest.refused_get(BULK, run_id=run_id, metric_key="m", max_results="x")

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


def _line(count: int) -> list[Point]:
    return [(number / 7, number, number) for number in range(count)]


def _one_step(count: int) -> list[Point]:
    random_ = random.Random(SEED)
    return [(float(random_.randint(0, 50)), timestamp, 7) for timestamp in range(count)]


SHAPES: dict[str, list[Point]] = {
    **{f"{count} in a line": _line(count) for count in (1, 2, 3, 9, 10, 11, 100, 319, 320, 321, 3000)},
    "one step": _one_step(700),
    "one step and timestamp": [(float(number), 1, 0) for number in range(500)],
    "NaN": [("NaN" if number % 3 == 0 else float(number % 5) - 2, number // 4, number // 10) for number in range(400)],
    "steps below 0": [(float(number), 100 - number, number - 50) for number in range(100)],
}
SIZES = (1, 2, 3, 5, 10, 320, 2500)
RANGES = ((5, 60), (0, 0), (50, 50), (-20, 10), (1000, 2000), (2990, 5000))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_long_history_is_thinned_out_evenly(rest: Rest, shape: str) -> None:
    points = SHAPES[shape]
    run_id = new_run_with(rest, points)

    samples = {size: _sampled(rest, run_id, max_results=size) for size in SIZES}

    assert samples == {size: sampling.sample(points, size) for size in SIZES}


@pytest.mark.parametrize("shape", ["100 in a line", "3000 in a line", "NaN", "steps below 0"])
def test_a_range_of_steps_is_thinned_out_alike(rest: Rest, shape: str) -> None:
    points = SHAPES[shape]
    run_id = new_run_with(rest, points)

    samples = {
        (start, end): _sampled(rest, run_id, max_results=7, start_step=start, end_step=end) for start, end in RANGES
    }

    assert samples == {
        (start, end): sampling.sample([point for point in points if start <= point[2] <= end], 7)
        for start, end in RANGES
    }


def test_a_sample_has_2500_points_unless_asked_otherwise(rest: Rest) -> None:
    points = _line(3000)
    run_id = new_run_with(rest, points)

    assert _sampled(rest, run_id) == sampling.sample(points, 2500)


def test_samples_are_in_the_order_in_which_runs_are_named(rest: Rest) -> None:
    first, second = new_run_with(rest, [(1.0, 1, 0), (2.0, 2, 1)]), new_run_with(rest, [(3.0, 1, 0)])

    answers = {
        order: _named_runs(rest, [*order, "nope"]) for order in [(first, second), (second, first), (first, first)]
    }

    assert answers == {
        (first, second): [first, first, second],
        (second, first): [second, first, first],
        (first, first): [first, first, first, first],
    }


def test_a_sample_names_its_run(rest: Rest, run_id: str) -> None:
    log_metric(rest, run_id)

    assert rest.get(INTERVAL, run_ids=run_id, metric_key="m") == {"metrics": [{**metric(), "run_id": run_id}]}


@pytest.mark.parametrize("query", [{"run_ids": "nope", "metric_key": "m"}, {"metric_key": "other"}], ids=str)
def test_samples_of_what_is_not_there_are_empty(rest: Rest, run_id: str, query: dict[str, str]) -> None:
    assert rest.get(INTERVAL, **{"run_ids": run_id, **query}) == {}


TOO_MANY_RUNS = (
    "GetMetricHistoryBulkInterval request must specify at most 100 run_ids. Received 101 run_ids." + texts.SEE_DOCS
)
OUT_OF_RANGE = "max_results must be between 1 and 2500." + texts.SEE_DOCS
ONE_END = "If either start step or end step are specified, both must be specified."


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"max_results": 0}, OUT_OF_RANGE),
        ({"max_results": -1}, OUT_OF_RANGE),
        ({"max_results": 2501}, OUT_OF_RANGE),
        ({"max_results": "x"}, texts.wrong_type("max_results", "x")),
        ({"max_results": "1.5"}, texts.wrong_type("max_results", "1.5")),
        ({"start_step": 0}, ONE_END),
        ({"end_step": 0}, ONE_END),
        (
            {"start_step": 3, "end_step": 1},
            "end_step must be greater than start_step. Found start_step=3 and end_step=1.",
        ),
        ({"start_step": "x", "end_step": 1}, texts.wrong_type("start_step", "x")),
        ({"start_step": 0, "end_step": "1.5"}, texts.wrong_type("end_step", "1.5")),
        ({"run_ids": ["r"] * 101}, TOO_MANY_RUNS),
    ],
    ids=lambda value: str(value)[:40],
)
def test_samples_are_refused(rest: Rest, run_id: str, query: Json, message: str) -> None:
    assert rest.refused_get(INTERVAL, **{"run_ids": run_id, "metric_key": "m", **query}) == invalid(message)


@pytest.mark.departure("stock answers 500 with the text of its database driver")
def test_a_range_of_steps_has_64_bits(rest: Rest, run_id: str) -> None:
    refused = rest.refused_get(INTERVAL, run_ids=run_id, metric_key="m", start_step=0, end_step=2**63)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("path", [HISTORY, BULK, INTERVAL])
def test_histories_of_deleted_runs_are_readable(rest: Rest, path: str) -> None:
    run_id = new_run_with(rest, [(1.0, 1, 0)])
    rest.post("runs/delete", run_id=run_id)

    answer = rest.get(path, **{"run_ids" if path == INTERVAL else "run_id": run_id, "metric_key": "m"})

    assert points_of(answer["metrics"]) == [(1.0, 1, 0)]


def _sampled(rest: Rest, run_id: str, **query: int) -> list[Point]:
    return points_of(rest.get(INTERVAL, run_ids=run_id, metric_key="m", **query).get("metrics", []))


def _named_runs(rest: Rest, run_ids: list[str]) -> list[str]:
    answer = rest.get(INTERVAL, run_ids=run_ids, metric_key="m", max_results=5)
    return [entry["run_id"] for entry in answer["metrics"]]
