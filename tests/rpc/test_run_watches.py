"""Watches of runs over gRPC on the real platform: what they begin with, what they tell, and where they go on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from modelstead.tracking.v1 import (
    ingest_pb2,
    ingest_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
)
from modelstead.tracking.v1 import run_watches_pb2 as pb
from services.local import waiting
from tests import ingest, run_watches
from tests.run_watches import Watch
from tests.stack import READY_TIMEOUT_S, Stack

_WATCHERS = 40


class Client:
    """One tracking service, and runs in it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.runs = runs_pb2_grpc.RunServiceStub(channel)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(channel)

    def new_run(self, *rows: ingest.Row) -> str:
        created = self.runs.CreateRun(
            runs_pb2.CreateRunRequest(experiment_id="0", run_name="first"), wait_for_ready=True
        )
        run_id = str(created.run.info.run_id)
        self.log(run_id, *rows)
        return run_id

    def log(self, run_id: str, *rows: ingest.Row) -> None:
        if rows:
            batch = ingest.batch(1, run_id, rows)
            self._ingest.IngestBatch(ingest_pb2.IngestBatchRequest(session=ingest.session(), batch=batch))

    def watch(self, run_id: str, **given: Any) -> Watch:
        return Watch(self.channel, run_id, **given)


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        yield Client(channel)


def test_watch_begins_with_the_run_and_its_points(client: Client) -> None:
    run_id = client.new_run(*ingest.series("loss", 0, 3), ("accuracy", math.nan, 7, 5))
    client.runs.LogBatch(
        runs_pb2.LogBatchRequest(
            run_id=run_id,
            params=[runs_pb2.Param(key="lr", value="0.1")],
            tags=[runs_pb2.RunTag(key="team", value="ranking")],
        )
    )

    with client.watch(run_id) as watch:
        run, *points = watch.until_all_is_told()

    told = run.run
    assert (told.run_id, told.run_name, told.experiment_id) == (run_id, "first", "0")
    assert (told.status, told.lifecycle_stage) == (runs_pb2.RunInfo.RUNNING, "active")
    assert not told.HasField("end_time")
    assert dict(told.params) == {"lr": "0.1"}
    assert dict(told.tags) == {"mlflow.runName": "first", "team": "ranking"}
    assert list(told.metrics.key) == ["loss", "accuracy"]
    assert list(told.metrics.step) == [2, 5]
    loss, accuracy = (message.points for message in points)
    assert loss == pb.WatchedPoints(key="loss", steps=[0, 1, 2], timestamps=[1000, 1001, 1002], values=[0, 1, 2])
    assert (accuracy.key, list(accuracy.steps), list(accuracy.timestamps)) == ("accuracy", [5], [7])
    assert math.isnan(accuracy.values[0])


@pytest.mark.parametrize(("count", "told"), [(320, 320), (321, 320), (30_000, 320)])
def test_long_history_begins_as_an_even_sample(client: Client, count: int, told: int) -> None:
    run_id = client.new_run(*ingest.series("m", 0, count))

    with client.watch(run_id) as watch:
        [_, message] = watch.until_all_is_told()
        client.log(run_id, *ingest.series("m", count, 1))
        after = watch.until_steps("m", 1)

    steps = list(message.points.steps)
    assert len(steps) == told
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 2 * count / told
    assert message.points.skipped_count == count - told
    assert message.points.HasField("skipped_count") == (count > told)
    assert after == [count]


def test_every_point_is_sent_if_asked_for(client: Client) -> None:
    run_id = client.new_run(*ingest.series("m", 0, 20_000))

    with client.watch(run_id, every_point=True) as watch:
        told = watch.until_all_is_told()

    assert run_watches.steps(told, "m") == list(range(20_000))
    assert max(len(message.points.steps) for message in told) == 4096


def test_new_points_are_told_once_and_in_order(client: Client) -> None:
    run_id = client.new_run()

    with client.watch(run_id) as watch:
        watch.until_all_is_told()
        for number in range(30):
            client.log(run_id, *ingest.series("m", 10 * number, 10), *ingest.series("other", number, 1))
        told = watch.until(lambda told: len(run_watches.steps(told, "m") + run_watches.steps(told, "other")) >= 330)

    assert run_watches.steps(told, "m") == list(range(300))
    assert run_watches.steps(told, "other") == list(range(30))


def test_what_another_replica_takes_in_is_told(stack: Stack, client: Client) -> None:
    run_id = client.new_run()
    with grpc.insecure_channel(stack.start_replica("tracking")) as channel:
        other = Client(channel)

        with client.watch(run_id) as watch:
            watch.until_all_is_told()
            other.log(run_id, *ingest.series("m", 0, 5))
            first = watch.until_steps("m", 5)
            other.runs.UpdateRun(runs_pb2.UpdateRunRequest(run_id=run_id, status=runs_pb2.RunInfo.FAILED, end_time=9))
            told = watch.until(lambda told: any(message.run.end_time for message in told))[-1]
            client.log(run_id, *ingest.series("m", 5, 5))
            watch.until_steps("m", 5)
        with other.watch(run_id, resume_token=watch.token) as resumed:
            other.log(run_id, *ingest.series("m", 10, 1))
            second = resumed.until_steps("m", 1)

    assert first == [0, 1, 2, 3, 4]
    assert told.run.status == runs_pb2.RunInfo.FAILED
    assert second == [10]


def test_who_comes_back_is_told_what_came_meanwhile_and_nothing_else(client: Client) -> None:
    run_id = client.new_run(*ingest.series("a", 0, 50), *ingest.series("b", 0, 50))
    with client.watch(run_id) as watch:
        watch.until_all_is_told()

    client.log(run_id, *ingest.series("b", 50, 7), *ingest.series("c", 0, 400))
    with client.watch(run_id, resume_token=watch.token) as resumed:
        told = resumed.until_all_is_told()

    assert not any(message.HasField("run") for message in told)
    assert run_watches.steps(told, "a") == []
    assert run_watches.steps(told, "b") == list(range(50, 57))
    assert run_watches.steps(told, "c") == list(range(400))


def test_each_message_is_a_place_to_go_on_from(client: Client) -> None:
    rows = [row for key in "abcdefgh" for row in ingest.series(key, 0, 30)]
    run_id, told, token = client.new_run(*rows), list[pb.WatchRunResponse](), ""

    while not told or not run_watches.is_end(told[-1]):
        with client.watch(run_id, resume_token=token) as watch:
            told.append(watch.take())
            token = watch.token

    assert [message.points.key for message in told[1:-1]] == list("abcdefgh")
    assert all(run_watches.steps(told, key) == list(range(30)) for key in "abcdefgh")


def test_far_behind_is_an_even_sample_unless_every_point_is_asked_for(client: Client) -> None:
    run_id = client.new_run(*ingest.series("m", 0, 5))
    with client.watch(run_id) as watch:
        watch.until_all_is_told()
    client.log(run_id, *ingest.series("m", 5, 10_001))

    with client.watch(run_id, resume_token=watch.token) as resumed:
        [sample] = resumed.until_all_is_told()
    with client.watch(run_id, resume_token=watch.token, every_point=True) as resumed:
        every = resumed.until_all_is_told()

    assert (sample.points.steps[0], sample.points.steps[-1]) == (5, 10_005)
    assert len(sample.points.steps) + sample.points.skipped_count == 10_001
    assert run_watches.steps(every, "m") == list(range(5, 10_006))


def test_only_what_is_named_is_watched_also_what_is_not_there_yet(client: Client) -> None:
    run_id = client.new_run(*ingest.series("a", 0, 2), *ingest.series("b", 0, 2))

    with client.watch(run_id, metric_keys=["b", "c"]) as watch:
        first = watch.until_all_is_told()
        client.log(run_id, *ingest.series("a", 2, 2), *ingest.series("c", 0, 2), *ingest.series("b", 2, 2))
        told = watch.until(lambda told: sum(message.HasField("points") for message in told) == 2)
        second = [message for message in told if message.HasField("points")]

    assert list(first[0].run.metrics.key) == ["b"]
    assert [message.points.key for message in first[1:]] == ["b"]
    assert {message.points.key for message in second} == {"b", "c"}


def test_changes_of_the_run_are_told(client: Client) -> None:
    run_id = client.new_run()
    changes = [
        (lambda: client.runs.SetTag(runs_pb2.SetTagRequest(run_id=run_id, key="a", value="1")), {"a": "1"}),
        (lambda: client.runs.SetTag(runs_pb2.SetTagRequest(run_id=run_id, key="a", value="2")), {"a": "2"}),
        (lambda: client.runs.DeleteTag(runs_pb2.DeleteTagRequest(run_id=run_id, key="a")), {}),
    ]

    with client.watch(run_id) as watch:
        watch.until_all_is_told()
        for change, tags in changes:
            change()
            assert {key: value for key, value in _next_state(watch).tags.items() if key == "a"} == tags
        client.runs.LogParam(runs_pb2.LogParamRequest(run_id=run_id, key="p", value="x"))
        assert dict(_next_state(watch).params) == {"p": "x"}
        client.runs.DeleteRun(runs_pb2.DeleteRunRequest(run_id=run_id))
        assert _next_state(watch).lifecycle_stage == "deleted"


def _next_state(watch: Watch) -> pb.WatchedRun:
    """Return what the run is told to be next. In 15 seconds of silence it is told that there is nothing to tell."""
    return watch.until(lambda told: bool(told) and told[-1].HasField("run"))[-1].run


def test_many_watch_one_run(client: Client) -> None:
    run_id = client.new_run()

    with ExitStack() as watching:
        watches = [watching.enter_context(client.watch(run_id)) for _ in range(_WATCHERS)]
        for watch in watches:
            watch.until_all_is_told()
        for number in range(20):
            client.log(run_id, *ingest.series("m", 5 * number, 5))
        told = [watch.until_steps("m", 100) for watch in watches]

    assert told == [list(range(100))] * _WATCHERS


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"run_id": "none"}, grpc.StatusCode.NOT_FOUND, "Run with id=none not found"),
        ({"run_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "Missing value for required parameter 'run_id'"),
        (
            {"metric_keys": map(str, range(251))},
            grpc.StatusCode.INVALID_ARGUMENT,
            "Parameter 'metric_keys' must have at most 250 entries, got 251.",
        ),
        ({"metric_keys": ["a", "a"]}, grpc.StatusCode.INVALID_ARGUMENT, "Invalid value 'a' for parameter 'metric_keys"),
        ({"metric_keys": ["a", "ü\n"]}, grpc.StatusCode.INVALID_ARGUMENT, 'Invalid value "\\u00fc\\n" for parameter'),
        ({"metric_keys": ["a" * 251]}, grpc.StatusCode.INVALID_ARGUMENT, "'metric_keys[0]' exceeds the maximum length"),
        ({"resume_token": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "Parameter 'resume_token' is none that a watch of"),
        ({"resume_token": "x" * 40_000}, grpc.StatusCode.INVALID_ARGUMENT, "Parameter 'resume_token' is none that"),
    ],
)
def test_watch_of_what_cannot_be_is_refused(
    client: Client, given: dict[str, Any], code: grpc.StatusCode, message: str
) -> None:
    request = {"run_id": client.new_run()} | given

    with client.watch(**request) as watch, pytest.raises(grpc.RpcError) as caught:
        watch.take()

    error: Any = caught.value
    assert error.code() is code
    assert error.details().startswith(message)


def test_token_is_good_for_its_run_only(client: Client) -> None:
    with client.watch(client.new_run()) as watch:
        watch.until_all_is_told()

    with client.watch(client.new_run(), resume_token=watch.token) as other, pytest.raises(grpc.RpcError) as caught:
        other.take()

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_server_that_is_stopped_sends_its_watchers_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("stopped")
    with Stack(path, artifact_stores="") as own, grpc.insecure_channel(own.grpc_address) as channel:
        client = Client(channel)
        run_id = client.new_run(*ingest.series("m", 0, 3))
        with client.watch(run_id) as watch:
            watch.until_all_is_told()

            ended_well = own.process("tracking").stop()

            with pytest.raises(grpc.RpcError) as caught:
                watch.take()
        own.start("tracking")
        assert waiting.until(own.tracking_is_ready, timeout_s=READY_TIMEOUT_S)
        with client.watch(run_id, resume_token=watch.token) as resumed:
            client.log(run_id, *ingest.series("m", 3, 1))
            told = resumed.until_steps("m", 1)

    error: Any = caught.value
    assert ended_well
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "This watch has ended; resume it.")
    assert told == [3]
