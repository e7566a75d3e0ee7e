"""Streams of batches over gRPC: where they go on, what they acknowledge, and how they end."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelstead.runs import connection
from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc, metrics_pb2, metrics_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.local import waiting
from tests import ingest
from tests.stack import READY_TIMEOUT_S, Stack


class Client:
    """Calls to one tracking service."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.ingest = ingest_pb2_grpc.IngestServiceStub(channel)
        self._runs = runs_pb2_grpc.RunServiceStub(channel)
        self._metrics = metrics_pb2_grpc.MetricServiceStub(channel)

    def new_run(self) -> str:
        created = self._runs.CreateRun(runs_pb2.CreateRunRequest(experiment_id="0"))
        return str(created.run.info.run_id)

    def steps(self, run_id: str) -> list[int]:
        request = metrics_pb2.GetMetricHistoryRequest(run_id=run_id, metric_key="m")
        return [step for answer in self._metrics.GetMetricHistory(request) for step in answer.metrics.step]

    def send(
        self, sender: pb.Session, *batches: pb.Batch, batches_a_request: int = 1, **opening: Any
    ) -> list[pb.IngestStreamResponse]:
        """Send batches by one stream and return all that it answers."""
        rest = iter(batches)
        requests = [ingest.opening(sender, **opening)]
        while together := list(itertools.islice(rest, batches_a_request)):
            requests.append(ingest.bringing(*together))
        return list(self.ingest.IngestStream(iter(requests), wait_for_ready=True))


class OpenStream:
    """A stream that is fed by and by."""

    def __init__(self, client: Client, sender: pb.Session) -> None:
        self._requests: queue.SimpleQueue[pb.IngestStreamRequest | None] = queue.SimpleQueue()
        self.put(ingest.opening(sender))
        self.call: Any = client.ingest.IngestStream(iter(self._requests.get, None))
        self.opened: pb.IngestStreamResponse = next(self.call)

    def put(self, request: pb.IngestStreamRequest | None) -> None:
        """Send a request; None says that it was the last one."""
        self._requests.put(request)


together = pytest.mark.parametrize("batches_a_request", [1, 9])


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        yield Client(channel)


def _points(run_id: str, *numbers: int) -> list[pb.Batch]:
    return [ingest.batch(number, run_id, ingest.series("m", 10 * number, 10)) for number in numbers]


def _until_the_error(call: Any) -> tuple[list[pb.IngestStreamResponse], grpc.RpcError]:
    answers = []
    try:
        for answer in call:
            answers.append(answer)  # noqa: PERF402 - those before the error are kept
    except grpc.RpcError as error:
        return answers, error
    raise AssertionError("the stream did not fail")


def _steps(*numbers: int) -> list[int]:
    return [step for number in numbers for step in range(10 * number, 10 * number + 10)]


def test_marks_rise_to_the_last_batch_and_what_is_acknowledged_is_there(client: Client) -> None:
    run_id = client.new_run()

    opened, *answers = client.send(ingest.session(), *_points(run_id, *range(1, 101)))

    marks = [answer.acknowledged_sequence for answer in answers]
    assert (opened.acknowledged_sequence, opened.window_bytes) == (0, 4 * 1024 * 1024)
    assert marks == sorted(set(marks))
    assert marks[-1] == 100
    assert client.steps(run_id) == _steps(*range(1, 101))


def test_a_request_of_several_batches_is_as_if_each_came_by_itself(client: Client) -> None:
    run_id, sender = client.new_run(), ingest.session()
    bad = ingest.batch(2, run_id, [("", 1.0, 1, 1)])
    requests = [
        ingest.opening(sender),
        ingest.bringing(*_points(run_id, 1), bad, *_points(run_id, 3)),
        ingest.bringing(*_points(run_id, 4, 5, 7, 8)),
    ]
    answers, error = _until_the_error(client.ingest.IngestStream(iter(requests)))

    assert "leaves a gap: 6 is expected" in str(error)
    assert answers[0].request_bytes_max == 256 * 1024
    assert answers[-1].acknowledged_sequence == 5
    assert [rejection.sequence for answer in answers for rejection in answer.rejections] == [2]
    assert client.steps(run_id) == _steps(1, 3, 4, 5)


def test_stream_is_told_where_to_go_on_and_known_batches_are_not_stored_again(client: Client) -> None:
    run_id, session_id = client.new_run(), ingest.new_id()
    client.send(ingest.session(session_id), *_points(run_id, 1, 2, 3))

    opened, *answers = client.send(ingest.session(session_id, epoch=2), *_points(run_id, 2, 3, 4))

    assert opened.acknowledged_sequence == 3
    assert answers[-1].acknowledged_sequence == 4
    assert client.steps(run_id) == _steps(1, 2, 3, 4)


@together
def test_gap_ends_the_stream_after_what_came_before_it(client: Client, batches_a_request: int) -> None:
    run_id, sender = client.new_run(), ingest.session()

    with pytest.raises(grpc.RpcError, match="leaves a gap: 3 is expected") as caught:
        client.send(sender, *_points(run_id, 1, 2, 4, 5), batches_a_request=batches_a_request)

    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert client.steps(run_id) == _steps(1, 2)
    assert client.send(sender)[0].acknowledged_sequence == 2


@together
def test_run_that_another_session_begins_later_is_awaited_if_asked_for(client: Client, batches_a_request: int) -> None:
    how = {"batches_a_request": batches_a_request, "awaits_runs": True}
    known, session_id, run_id = client.new_run(), ingest.new_id(), ingest.new_id()
    batches = [*_points(known, 1), *_points(run_id, 2), *_points(known, 3)]

    with pytest.raises(grpc.RpcError, match=f"Run with id={run_id} not found") as caught:
        client.send(ingest.session(session_id), *batches, **how)
    told = connection.failure(caught.value)
    client.send(ingest.session(), ingest.batch(1, run_id, **ingest.starting()))
    opened, *answers = client.send(ingest.session(session_id, epoch=2), *batches, **how)

    assert (told.code, told.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_DOES_NOT_EXIST")
    assert told.retry_after_s
    assert opened.acknowledged_sequence == 1
    assert answers[-1].acknowledged_sequence == 3
    assert not [rejection for answer in answers for rejection in answer.rejections]
    assert client.steps(known) == _steps(1, 3)
    assert client.steps(run_id) == _steps(2)


def test_run_that_begins_in_the_stream_itself_is_not_awaited(client: Client) -> None:
    run_id = ingest.new_id()

    *_, last = client.send(
        ingest.session(), ingest.batch(1, run_id, **ingest.starting()), *_points(run_id, 2), awaits_runs=True
    )

    assert last.acknowledged_sequence == 2
    assert client.steps(run_id) == _steps(2)


def test_older_epoch_is_refused_also_while_its_stream_is_open(client: Client) -> None:
    run_id, session_id = client.new_run(), ingest.new_id()
    old = OpenStream(client, ingest.session(session_id, epoch=1))
    client.send(ingest.session(session_id, epoch=2), *_points(run_id, 1))

    old.put(ingest.bringing(*_points(run_id, 2, 3)))
    with pytest.raises(grpc.RpcError, match="taken up under epoch 2; epoch 1 is over") as written:
        next(old.call)
    with pytest.raises(grpc.RpcError) as opened:
        client.send(ingest.session(session_id, epoch=1))
    old.put(None)

    assert written.value.code() is opened.value.code() is grpc.StatusCode.ABORTED
    assert client.steps(run_id) == _steps(1)


def test_rejection_names_the_field_and_value_and_the_stream_goes_on(client: Client) -> None:
    run_id = client.new_run()
    rows = ingest.series("m", 20, 1000)
    rows[500] = ("m", 1.5, -7, 520)

    answers = client.send(ingest.session(), *_points(run_id, 1), ingest.batch(2, run_id, rows), *_points(run_id, 3))

    [rejection] = itertools.chain.from_iterable(answer.rejections for answer in answers)
    assert (rejection.sequence, rejection.reason) == (2, "INVALID_PARAMETER_VALUE")
    assert rejection.message.startswith(
        "Invalid value -7 for parameter 'points.timestamps[500]' supplied: metric 'm' (value=1.5)"
    )
    assert client.steps(run_id) == _steps(1, 3)


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "Missing value for required parameter 'open'"),
        ([pb.IngestStreamRequest(batch=pb.Batch(sequence=1))], "Missing value for required parameter 'open'"),
        ([ingest.opening(pb.Session(session_id="x"))], "Invalid value 'x' for parameter 'session_id'"),
        ([ingest.opening(pb.Session())], "Missing value for required parameter 'open.session_id'"),
        ([ingest.opening(ingest.session())] * 2, "a session is opened once"),
        ([ingest.opening(ingest.session()), ingest.bringing(pb.Batch())], "Invalid value 0 for parameter 'batch.seq"),
        (
            [ingest.opening(ingest.session()), ingest.bringing(*[pb.Batch(sequence=1)] * 257)],
            "at most 256 batches. Got 257",
        ),
        (
            [ingest.opening(ingest.session()), ingest.bringing(*[pb.Batch(params={"p": "x" * 100_000})] * 3)],
            "at most 262144 bytes together. Got 300",
        ),
    ],
)
def test_what_is_no_stream_of_batches_is_an_invalid_argument(
    client: Client, requests: list[pb.IngestStreamRequest], message: str
) -> None:
    with pytest.raises(grpc.RpcError, match=message) as caught:
        list(client.ingest.IngestStream(iter(requests)))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_single_batches_and_a_stream_are_one_session(client: Client) -> None:
    run_id, sender = client.new_run(), ingest.session()
    first, second, third = _points(run_id, 1, 2, 3)

    answer = client.ingest.IngestBatch(pb.IngestBatchRequest(session=sender, batch=first))
    client.send(sender, second)
    again = client.ingest.IngestBatch(pb.IngestBatchRequest(session=sender, batch=second))
    client.ingest.IngestBatch(pb.IngestBatchRequest(session=sender, batch=third))

    assert (answer.acknowledged_sequence, again.acknowledged_sequence) == (1, 2)
    assert not answer.HasField("rejection")
    assert client.steps(run_id) == _steps(1, 2, 3)


def test_client_that_ignores_the_window_is_read_no_faster_than_it_is_stored(client: Client) -> None:
    run_id = client.new_run()
    batches = [ingest.batch(number, run_id, ingest.series("m", number * 20_000, 20_000)) for number in range(1, 41)]

    answers = client.send(ingest.session(), *batches)

    assert answers[-1].acknowledged_sequence == 40
    assert len(client.steps(run_id)) == 40 * 20_000


def test_sigterm_acknowledges_what_has_come_and_ends_the_stream_as_unavailable(tmp_path: Path) -> None:
    with Stack(tmp_path, artifact_stores="") as own, grpc.insecure_channel(own.grpc_address) as channel:
        client = Client(channel)
        run_id, sender = client.new_run(), ingest.session()
        streams = [OpenStream(client, sender)] + [OpenStream(client, ingest.session()) for _ in range(19)]
        for batch in _points(run_id, *range(1, 201)):
            streams[0].put(ingest.bringing(batch))
        marks, codes = [next(streams[0].call).acknowledged_sequence], []

        stopping = threading.Thread(target=own.process("tracking").stop)
        stopping.start()
        for stream in streams:
            with pytest.raises(grpc.RpcError) as caught:
                marks.extend(answer.acknowledged_sequence for answer in stream.call)
            codes.append(caught.value.code())
            stream.put(None)
        stopping.join()
        own.start("tracking")
        assert waiting.until(own.tracking_is_ready, timeout_s=READY_TIMEOUT_S)
        opened = client.send(sender)[0]

        assert codes == [grpc.StatusCode.UNAVAILABLE] * 20
        assert own.process("tracking").exit_code is None
        assert opened.acknowledged_sequence == max(marks)
        assert client.steps(run_id) == _steps(*range(1, max(marks) + 1))
