"""A tracking server as far as ingest.proto goes, in memory: the peer of the client library's tests.

It numbers, deduplicates and rejects as the proto says, and misbehaves on demand.
"""

import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from struct import unpack
from typing import Any, Self

import grpc

from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc as pb_grpc
from services.common.rpc.server import OPTIONS

Point = tuple[str, int, float]
"""Metric, step, value."""


@dataclass
class StoredRun:
    start: pb.StartRun | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    end: pb.EndRun | None = None

    def steps(self, key: str = "m") -> list[int]:
        return [step for name, step, _ in self.points if name == key]


@dataclass
class _Mark:
    epoch: int = 0
    sequence: int = 0


class IngestServer(pb_grpc.IngestServiceServicer):
    """Listens on `address`; `runs` is what was stored, `batches` what came, whether or not it was stored."""

    def __init__(self, *, tls: grpc.ServerCredentials | None = None) -> None:
        self.runs: dict[str, StoredRun] = {}
        self._tls = tls
        self.marks: dict[str, _Mark] = {}
        self.batches: list[pb.Batch] = []
        self.openings: list[pb.IngestStreamRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.stored_count = 0
        self.window_bytes = 1024 * 1024
        # 0: as servers that take one batch a request, and tell nothing.
        self.request_bytes_max = 100_000
        # How many batches each had.
        self.requests: list[int] = []
        # None are wanted while this is 0; whose each was.
        self.heartbeat_period_s = 0.0
        self.heartbeats: list[tuple[pb.Session, pb.Heartbeat]] = []
        self.rejected_params: set[str] = set()
        # Break off so many streams after having stored a batch and before having told so.
        self.replies_to_drop = 0
        # Refuse so many openings with this status.
        self.refusals: list[tuple[grpc.StatusCode, str]] = []
        # Nothing is acknowledged while this is not set.
        self.is_answering = threading.Event()
        self.is_answering.set()
        self._lock = threading.Lock()
        self._port = 0
        self._server: grpc.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = grpc.server(futures.ThreadPoolExecutor(96), options=(*OPTIONS, ("grpc.so_reuseport", 0)))
        pb_grpc.add_IngestServiceServicer_to_server(self, self._server)
        where = f"127.0.0.1:{self._port}"
        if self._tls:
            self._port = self._server.add_secure_port(where, self._tls)
        else:
            self._port = self._server.add_insecure_port(where)
        self._server.start()

    def stop(self) -> None:
        """Go away as if killed: what is under way is neither stored nor told."""
        self.is_answering.set()
        if self._server:
            self._server.stop(0).wait()

    def run(self, run_id: str) -> StoredRun:
        return self.runs.setdefault(run_id, StoredRun())

    def IngestStream(self, requests: Iterator[pb.IngestStreamRequest], context: Any) -> Any:
        opening = next(requests)
        with self._lock:
            self.openings.append(opening)
            self.metadata.append(dict(context.invocation_metadata()))
            refusal = self.refusals.pop(0) if self.refusals else None
            mark = self.marks.setdefault(opening.open.session_id, _Mark())
            is_over = opening.open.epoch < mark.epoch
            if not is_over:
                mark.epoch = opening.open.epoch
                mark.sequence = max(mark.sequence, opening.acknowledged_sequence)
        if refusal:
            context.abort(*refusal)
        if is_over:
            context.abort(grpc.StatusCode.ABORTED, "epoch is over")
        opened = pb.IngestStreamResponse(
            acknowledged_sequence=mark.sequence,
            window_bytes=self.window_bytes,
            request_bytes_max=self.request_bytes_max,
        )
        if self.heartbeat_period_s and opening.open.HasField("rank"):
            opened.heartbeat_period.FromMilliseconds(int(self.heartbeat_period_s * 1000))
        yield opened
        for request in requests:
            if request.HasField("heartbeat"):
                self.heartbeats.append((opening.open, request.heartbeat))
                continue
            self.is_answering.wait()
            if not context.is_active():
                return
            rejections = []
            with self._lock:
                self.requests.append(1 + len(request.more_batches))
                for batch in (request.batch, *request.more_batches):
                    if opening.open.epoch < mark.epoch or batch.sequence > mark.sequence + 1:
                        context.abort(grpc.StatusCode.ABORTED, f"batch {batch.sequence} after {mark.sequence}")
                    if rejection := self._take(mark, batch):
                        rejections.append(rejection)
                is_dropped = self.replies_to_drop > 0
                self.replies_to_drop -= is_dropped
            if is_dropped:
                context.abort(grpc.StatusCode.UNAVAILABLE, "reply dropped")
            yield pb.IngestStreamResponse(acknowledged_sequence=mark.sequence, rejections=rejections)

    def _take(self, mark: _Mark, batch: pb.Batch) -> pb.Rejection | None:
        self.batches.append(batch)
        if batch.sequence <= mark.sequence:
            return None
        mark.sequence = batch.sequence
        if self.rejected_params & set(batch.params):
            return pb.Rejection(sequence=batch.sequence, reason="INVALID_PARAMETER_VALUE", message="param was logged")
        self.stored_count += 1
        run = self.run(batch.run_id)
        if batch.HasField("start"):
            run.start = run.start or batch.start
        run.params.update(batch.params)
        run.tags.update(batch.tags)
        run.points += points_of(batch.points)
        if batch.HasField("end"):
            run.end = batch.end
        return None


def points_of(columns: pb.PointColumns) -> list[Point]:
    """Return columns as points."""
    count = sum(columns.counts)
    keys = [key for key, times in zip(columns.keys, columns.counts, strict=True) for _ in range(times)]
    assert len(unpack(f"<{count}q", columns.timestamps)) == count
    steps, values = unpack(f"<{count}q", columns.steps), unpack(f"<{count}d", columns.values)
    return list(zip(keys, steps, values, strict=True))
