"""`python -m benchmarks.ingest_client ADDRESS RUN…`: a process that streams points into runs as fast as it is let.

For each run it opens one stream of batches of 10 metrics × 100 steps, made as they are sent. It answers each line on
its standard input with how many points have been acknowledged in all, and ends when its standard input does.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Sequence

import grpc.aio
import numpy as np
import uvloop

from modelstead.tracking.v1 import ingest_pb2, ingest_pb2_grpc

METRICS, STEPS = 10, 100
BATCH_POINTS = METRICS * STEPS


class Stream:
    """One session, and how many of its points are acknowledged."""

    def __init__(self, stub: ingest_pb2_grpc.IngestServiceStub, run_id: str) -> None:
        self.points = 0
        self._stub = stub
        self._run_id = run_id
        self._session = ingest_pb2.Session(session_id=uuid.uuid4().hex, epoch=1)
        self._sent = self._acknowledged = 0
        self._window = 0
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Send until cancelled."""
        async for answer in self._stub.IngestStream(self._requests()):
            self._acknowledged = answer.acknowledged_sequence
            self.points = self._acknowledged * BATCH_POINTS
            if answer.window_bytes:
                # A batch has some 24 bytes a point.
                self._window = answer.window_bytes // (30 * BATCH_POINTS)
            self._room.set()

    async def _requests(self) -> AsyncIterator[ingest_pb2.IngestStreamRequest]:
        yield ingest_pb2.IngestStreamRequest(open=self._session)
        random = np.random.default_rng(1)
        while True:
            while self._sent - self._acknowledged >= self._window:
                self._room.clear()
                await self._room.wait()
            self._sent += 1
            yield ingest_pb2.IngestStreamRequest(batch=self._batch(random))

    def _batch(self, random: np.random.Generator) -> ingest_pb2.Batch:
        steps = np.arange(self._sent * STEPS, (self._sent + 1) * STEPS)
        # A step takes a second, give or take some milliseconds.
        timestamps = 1_700_000_000_000 + steps * 1000 + random.integers(0, 50, STEPS)
        return ingest_pb2.Batch(
            sequence=self._sent,
            run_id=self._run_id,
            points=ingest_pb2.PointColumns(
                keys=[f"metric-{number}" for number in range(METRICS)],
                counts=[STEPS] * METRICS,
                steps=np.tile(steps, METRICS).tobytes(),
                timestamps=np.tile(timestamps, METRICS).tobytes(),
                values=random.standard_normal(BATCH_POINTS).tobytes(),
            ),
        )


async def main(address: str, run_ids: Sequence[str]) -> None:
    """Stream into the runs until standard input ends."""
    async with grpc.aio.insecure_channel(address) as channel:
        streams = [Stream(ingest_pb2_grpc.IngestServiceStub(channel), run_id) for run_id in run_ids]
        async with asyncio.TaskGroup() as tasks:
            sending = [tasks.create_task(stream.run()) for stream in streams]
            while await asyncio.to_thread(sys.stdin.readline):
                print(sum(stream.points for stream in streams), flush=True)
            for task in sending:
                task.cancel()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2:]))
