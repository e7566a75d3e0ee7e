"""`watch_run` on the real platform: what it returns, where it ends, and where another one goes on."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

import modelstead
from modelstead.runs import watching
from modelstead.runs.watching import Points, RunState, RunWatch, WatchError
from modelstead.tracking.v1 import run_watches_pb2 as pb
from modelstead.tracking.v1 import run_watches_pb2_grpc as pb_grpc
from tests.stack import Stack

_POINTS = 50


class MuteServer(pb_grpc.RunWatchServiceServicer):
    """Tells what the run is, then nothing, though it is there and answers pings."""

    def __init__(self) -> None:
        self.requests: list[pb.WatchRunRequest] = []
        self.is_over = threading.Event()

    def WatchRun(self, request: pb.WatchRunRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchRunResponse]:
        self.requests.append(request)
        yield pb.WatchRunResponse(run=pb.WatchedRun(run_id=request.run_id), resume_token=str(len(self.requests)))
        self.is_over.wait(60)


@pytest.fixture
def how(stack: Stack, tmp_path: Path) -> dict[str, Any]:
    return {"address": stack.grpc_address, "spool_dir": tmp_path / "spool"}


def _watch(run_id: str, how: dict[str, Any], **given: Any) -> RunWatch:
    # A test that waits for ever tells nothing.
    return modelstead.watch_run(run_id, address=how["address"], away_max_s=60, **given)


def _steps(told: "list[RunState | Points]", key: str) -> list[int]:
    return [step for each in told if isinstance(each, Points) and each.key == key for step in each.steps]


def test_iterator_follows_a_run_to_its_end(how: dict[str, Any]) -> None:
    told: list[RunState | Points] = []
    with modelstead.start_run(**how, run_name="watched", params={"lr": 0.1}) as run:
        run.log({"loss": 0.5, "other": 1}, step=0)
        assert run.flush(60)

        watch = _watch(run.run_id, how, keys=["loss"])
        told.append(next(watch))
        for step in range(1, _POINTS):
            run.log({"loss": 1 / step, "other": 1}, step=step)
    told += watch

    first, last = told[0], [each for each in told if isinstance(each, RunState)][-1]
    assert isinstance(first, RunState)
    assert (first.run_name, first.status, first.has_ended, dict(first.params)) == (
        "watched", "RUNNING", False, {"lr": "0.1"}
    )  # fmt: skip
    assert (last.status, last.has_ended) == ("FINISHED", True)
    assert last.end_time is not None
    assert _steps(told, "loss") == list(range(_POINTS))
    assert _steps(told, "other") == []
    assert list(watch) == []


def test_another_watch_goes_on_where_one_was(how: dict[str, Any]) -> None:
    with modelstead.start_run(**how) as run:
        run.log({"m": 0.0}, step=0)
        assert run.flush(60)
        with _watch(run.run_id, how) as watch:
            before = list(itertools.islice(watch, 2))
        run.log({"m": 1.0}, step=1)
    assert run.flush(60)

    with _watch(run.run_id, how, resume_token=watch.resume_token) as resumed:
        after = list(resumed)
    with _watch(run.run_id, how, resume_token=resumed.resume_token) as again:
        nothing = list(again)

    assert _steps(before, "m") == [0]
    assert _steps(after, "m") == [1]
    assert nothing == []


def test_refusal_is_raised(how: dict[str, Any]) -> None:
    watch = _watch("none", how)

    with pytest.raises(WatchError, match="run none cannot be watched: NOT_FOUND: Run with id=none not found"):
        next(watch)
    with pytest.raises(StopIteration):
        next(watch)


def test_server_that_is_away_for_too_long_is_told() -> None:
    watch = modelstead.watch_run("a", address="127.0.0.1:9", away_max_s=0.5)
    began = time.monotonic()

    with pytest.raises(WatchError, match="tracking has been away for"):
        next(watch)

    assert time.monotonic() - began < 60


def test_stream_that_says_nothing_is_given_up_and_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_SILENCE_S_MAX", 0.5)
    server, mute = grpc.server(futures.ThreadPoolExecutor(16)), MuteServer()
    pb_grpc.add_RunWatchServiceServicer_to_server(mute, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with modelstead.watch_run("a", address=f"127.0.0.1:{port}", away_max_s=60) as watch:
            told = [next(watch), next(watch)]
    finally:
        mute.is_over.set()
        server.stop(None).wait()

    assert [each.run_id for each in told if isinstance(each, RunState)] == ["a", "a"]
    # On a slow machine one may be given up before anything has come.
    assert list(dict.fromkeys(request.resume_token for request in mute.requests)) == ["", "1"]
