"""Clients with a spool, as tests of faults need them, and whether all that they have brought is there once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import psycopg

from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc, metrics_pb2, metrics_pb2_grpc
from tests import ingest
from tests.stack import Stack

POINTS_MIN = 500_000
_WRITERS = 4
_BATCH_POINTS = 1000
_UNDER_WAY_MAX = 20
# So that a writer goes on for as long as it is disturbed: 40,000 points a second each.
_PACE_S = 0.05
_BATCHES_A_REQUEST_MAX = 3
# Short, so that few kills meet no call under way.
_SINGLE_PACE_S = 0.015
_FINISH_S = 600.0


class Writer(threading.Thread):
    """A client with a spool: it makes batches until told to finish, sends them in order, and again what it does not
    know to be acknowledged, until all are. Each writer has a run and a session of its own.
    """

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.run_id = ingest.new_id()
        self.acknowledged = 0
        self.resumptions_s: list[float] = []
        self.codes: set[grpc.StatusCode] = set()
        self._address = address
        self._session = ingest.session()
        self._newest = 0
        self._finishing = threading.Event()
        self._moved = threading.Condition()

    @property
    def point_count(self) -> int:
        """How many points it has made."""
        return self._newest * _BATCH_POINTS

    @property
    def is_done(self) -> bool:
        return self._finishing.is_set() and self.acknowledged == self._newest

    def finish(self) -> None:
        """Make no more batches; the thread ends when those made are acknowledged."""
        with self._moved:
            self._finishing.set()

    def run(self) -> None:
        lost_at: float | None = None
        with grpc.insecure_channel(
            self._address, options=[("grpc.max_reconnect_backoff_ms", 300), ("grpc.min_reconnect_backoff_ms", 100)]
        ) as channel:
            while not self.is_done:
                try:
                    for answer in self._open(channel):
                        self._note(answer.acknowledged_sequence, lost_at)
                        lost_at = None
                        if self.is_done:
                            return
                except grpc.RpcError as error:
                    self.codes.add(error.code())
                lost_at = time.monotonic()

    def _open(self, channel: grpc.Channel) -> Iterator[pb.IngestStreamResponse]:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        opened, broken = threading.Event(), threading.Event()
        call = stub.IngestStream(self._requests(opened, broken), wait_for_ready=True, timeout=300)
        try:
            for answer in call:
                yield answer
                opened.set()
        finally:
            call.cancel()
            with self._moved:
                broken.set()
                self._moved.notify_all()
            opened.set()

    def _requests(self, opened: threading.Event, broken: threading.Event) -> Iterator[pb.IngestStreamRequest]:
        """What a stream sends until it is `broken`; the one before may still be about to find out that it is."""
        yield ingest.opening(self._session, acknowledged=self.acknowledged)
        opened.wait()
        number = self.acknowledged
        while True:
            first = number + 1
            number = first + number % _BATCHES_A_REQUEST_MAX
            self._wait_for_room(number, broken)
            if number > self._newest:
                self._finishing.wait(_PACE_S)
            with self._moved:
                if self._finishing.is_set():
                    number = min(number, self._newest)
                if broken.is_set() or number < first:
                    return
                self._newest = max(self._newest, number)
            yield ingest.bringing(*map(self._batch, range(first, number + 1)))

    def _wait_for_room(self, number: int, broken: threading.Event) -> None:
        with self._moved:
            self._moved.wait_for(lambda: broken.is_set() or number - self.acknowledged <= _UNDER_WAY_MAX)

    def _batch(self, number: int) -> pb.Batch:
        steps = np.arange((number - 1) * _BATCH_POINTS, number * _BATCH_POINTS)
        return pb.Batch(
            sequence=number,
            run_id=self.run_id,
            start=pb.StartRun(start_time=1) if number == 1 else None,
            points=pb.PointColumns(
                keys=["m"],
                counts=[_BATCH_POINTS],
                steps=steps.tobytes(),
                timestamps=(steps + 1_000).tobytes(),
                values=steps.astype("<f8").tobytes(),
            ),
        )

    def _note(self, acknowledged: int, lost_at: float | None) -> None:
        with self._moved:
            assert acknowledged >= self.acknowledged, "what was acknowledged is not there any more"
            if lost_at is not None:
                self.resumptions_s.append(time.monotonic() - lost_at)
            self.acknowledged = acknowledged
            self._moved.notify_all()


class SingleWriter(Writer):
    """A writer that brings each batch by a call of its own, and again until one is answered: it is never told which of
    its calls were committed without an answer.
    """

    def run(self) -> None:
        while not self.is_done:
            if self.acknowledged == self._newest:
                self._newest += 0 if self._finishing.wait(_SINGLE_PACE_S) else 1
                continue
            request = pb.IngestBatchRequest(session=self._session, batch=self._batch(self._newest))
            try:
                # Of its own, as a connection that is lost is noticed late.
                with grpc.insecure_channel(self._address) as channel:
                    answer = ingest_pb2_grpc.IngestServiceStub(channel).IngestBatch(request, timeout=3)
            except grpc.RpcError as error:
                self.codes.add(error.code())
            else:
                assert answer.acknowledged_sequence == self._newest
                self.acknowledged = self._newest


def write(
    address: str, disturb: Callable[[], None], *, times: int, kind: type[Writer] = Writer, points_min: int = POINTS_MIN
) -> list[Writer]:
    """Have four writers write while they are disturbed, until one has noticed it, then let them finish."""
    writers = [kind(address) for _ in range(_WRITERS)]
    for writer in writers:
        writer.start()
    try:
        count = 0
        while (
            count < times
            or sum(writer.point_count for writer in writers) < points_min
            or not any(writer.codes for writer in writers)
        ):
            disturb()
            count += 1
    finally:
        for writer in writers:
            writer.finish()
    for writer in writers:
        writer.join(timeout=_FINISH_S)
        assert writer.is_done, f"{writer.acknowledged} batches of {writer.point_count} points: {writer.codes}"
    print(f"{sum(writer.point_count for writer in writers):,} points, {count} disturbances")
    return writers


def check_all_is_there_once(stack: Stack, writers: list[Writer]) -> None:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        for writer in writers:
            expected = np.arange(writer.point_count)
            request = metrics_pb2.ReadMetricHistoryRequest(run_id=writer.run_id, metric_key="m")
            parts = list(metrics_pb2_grpc.MetricServiceStub(channel).ReadMetricHistory(request))
            steps = np.frombuffer(b"".join(part.steps for part in parts), "<i8")
            values = np.frombuffer(b"".join(part.values for part in parts), "<f8")
            assert np.array_equal(steps, expected), f"{len(steps)} points, not {len(expected)}"
            assert np.array_equal(values, expected)
            assert _taken_in(stack, writer.run_id) == len(expected), "a batch was stored twice"


def _taken_in(stack: Stack, run_id: str) -> int:
    """Return how many points were stored, equal ones included, which no history shows."""
    with psycopg.connect(stack.postgres.url()) as connection:
        row = connection.execute(
            "SELECT sum(c.point_count) + max(m.pending_count) FROM tracking.metrics AS m"
            " JOIN tracking.metric_chunks AS c USING (metric_id) WHERE m.run_id = %s",
            [run_id],
        ).fetchone()
    return int(row[0]) if row else 0
