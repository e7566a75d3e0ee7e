"""Ranks over REST: routes of our own beside MLflow's, and what MLflow's routes show of what ranks have logged."""

import uuid
from typing import Any

import grpc
import pytest

from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc
from services.local import waiting
from tests import ingest
from tests.compat.rest import Json, Rest, invalid
from tests.stack import Stack

_WAIT_S = 60
_LIST, _STRAGGLERS, _SUMMARY = "runs/ranks/list", "runs/ranks/stragglers", "metrics/summarize-ranks"

pytestmark = pytest.mark.departure("MLflow knows no ranks")


@pytest.fixture(scope="module")
def run_id(stack: Stack) -> str:
    """A run of three ranks, of which the last is 30 steps behind, has logged NaN, and the first has ended."""
    run_id = uuid.uuid4().hex
    with grpc.insecure_channel(stack.grpc_address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        for number, last in enumerate((50, 50, 20)):
            rows = [("loss", step + number / 2, 1_000 + step, step) for step in range(last)]
            rows.append(("loss", float("nan") if number == 2 else 7.0 + number, 1_000 + last, last))
            starting = pb.Batch(sequence=1, run_id=run_id, start=pb.StartRun(start_time=5))
            ending = [ingest.batch(3, run_id, end=pb.EndRun(end_time=2_000))] if number == 0 else []
            rank = pb.Rank(rank=number, world_size=3, node=f"node-{number}", local_rank=0)
            sender = pb.Session(session_id=ingest.new_id(), epoch=1, rank=rank)
            heartbeat = pb.IngestStreamRequest(heartbeat=pb.Heartbeat(run_ids=[run_id] if number else []))
            batches = map(ingest.bringing, [starting, ingest.batch(2, run_id, rows), *ending])
            requests = [ingest.opening(sender), *batches, heartbeat]
            list(stub.IngestStream(iter(requests), wait_for_ready=True, timeout=_WAIT_S))
    return run_id


def _ranks(rest: Rest, run_id: str, **query: Any) -> list[Json]:
    return list(rest.get(_LIST, run_id=run_id, **query).get("ranks", []))


def test_ranks_are_listed_with_what_they_have_logged(rest: Rest, run_id: str) -> None:
    assert waiting.until(lambda: all("last_step" in rank for rank in _ranks(rest, run_id)), timeout_s=_WAIT_S)

    first, second, third = _ranks(rest, run_id)

    assert {first["state"], first["world_size"], first["local_rank"]} == {"FINISHED", 3, 0}
    assert [rank["rank"] for rank in (first, second, third)] == [0, 1, 2]
    assert [rank["node"] for rank in (first, second, third)] == ["node-0", "node-1", "node-2"]
    assert [rank["last_step"] for rank in (first, second, third)] == [50, 50, 20]
    assert third["last_point_timestamp"] == 1_020
    assert all(0 < rank["join_timestamp"] <= rank["last_seen_timestamp"] for rank in (first, second, third))


def test_pages_of_ranks_follow_each_other(rest: Rest, run_id: str) -> None:
    page = rest.get(_LIST, run_id=run_id, max_results=2)
    rest_of_it = rest.get(_LIST, run_id=run_id, max_results=2, page_token=page["next_page_token"])

    assert [rank["rank"] for rank in page["ranks"] + rest_of_it["ranks"]] == [0, 1, 2]
    assert "next_page_token" not in rest_of_it


def test_a_metric_is_summed_up_across_ranks(rest: Rest, run_id: str) -> None:
    steps = rest.get(_SUMMARY, run_id=run_id, metric_key="loss", start_step=19, end_step=20)["steps"]

    assert steps == [
        {"step": 19, "count": 3, "nan_count": 0, "min": 19.0, "mean": 19.5, "max": 20.0, "min_rank": 0, "max_rank": 2},
        {"step": 20, "count": 3, "nan_count": 1, "min": 20.0, "mean": 20.25, "max": 20.5, "min_rank": 0, "max_rank": 1},
    ]


def test_mlflow_sees_the_points_of_all_ranks(rest: Rest, run_id: str) -> None:
    history = rest.get("metrics/get-history", run_id=run_id, metric_key="loss")["metrics"]

    assert len(history) == 51 + 51 + 21
    [latest] = rest.get("runs/get", run_id=run_id)["run"]["data"]["metrics"]
    assert (latest["key"], latest["step"], latest["value"]) == ("loss", 50, 8.0)


@pytest.mark.parametrize("route", [_LIST, _STRAGGLERS])
def test_a_run_without_ranks_has_none(rest: Rest, route: str) -> None:
    assert rest.get(route, run_id="0" * 32) == {}


@pytest.mark.parametrize(
    ("route", "query", "told"),
    [
        (_LIST, {"max_results": 0}, "Invalid value 0 for parameter 'max_results' supplied. It must be 1 to 10000."),
        (
            _STRAGGLERS,
            {"min_ms_behind": 0},
            "Invalid value 0 for parameter 'min_ms_behind' supplied. It must be 1 to 9223372036854775807.",
        ),
        (
            _SUMMARY,
            {"metric_key": "m", "max_results": 10_001},
            "Invalid value 10001 for parameter 'max_results' supplied. It must be 1 to 10000.",
        ),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(rest: Rest, route: str, query: Json, told: str) -> None:
    assert rest.refused_get(route, run_id="r", **query) == invalid(told)
