"""What a distributed job asks: a thousand ranks that log into one run, each a small batch a second.

The first figure is how long an acknowledgement takes, the second how much tracking grows meanwhile.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc.aio
import numpy as np

from benchmarks import machine
from benchmarks.client import UnexpectedAnswer
from benchmarks.measuring import Clock, Measurement
from benchmarks.scene import Scene
from modelstead.tracking.v1 import ingest_pb2, ingest_pb2_grpc

_METRICS = 20
_PERIOD_S = 1.0
# So many streams share a connection, as those of a node may.
_STREAMS_A_CHANNEL = 50
_TRACKING = "services.tracking"
_RETRY_S = 0.5


@dataclass(slots=True)
class _Told:
    """What is measured: each acknowledgement in seconds, and how often a rank was refused."""

    took_s: list[float] = field(default_factory=list)
    refusals: int = 0


async def acknowledged(scene: Scene, *, quantile: float) -> Measurement:
    """Milliseconds within which the given share of batches is acknowledged."""
    told, clock = _Told(), Clock()
    await _log(scene, told)
    if told.refusals:
        raise UnexpectedAnswer(f"{told.refusals} streams were refused.")
    return clock.measurement([1000 * float(np.quantile(told.took_s, quantile))])


async def growth(scene: Scene) -> Measurement:
    """MB by which tracking grows, from when all ranks have logged once to the end."""
    pid = next(pid for pid in machine.tree(scene.pid) if _TRACKING in machine.command(pid))
    clock, most = Clock(), 0
    logging = asyncio.create_task(_log(scene, _Told()))
    await asyncio.wait([logging], timeout=min(10.0, scene.scale.ranks_s / 3))
    before = machine.rss_bytes(pid)
    while not logging.done():
        await asyncio.wait([logging], timeout=1.0)
        most = max(most, machine.rss_bytes(pid))
    await logging
    return clock.measurement([max(most - before, 0) / 1e6])


async def _log(scene: Scene, told: _Told) -> None:
    """Have all ranks log for as long as the scale says."""
    assert scene.grpc_address is not None
    async with scene.endpoint.connections(1) as connections:
        [run_id] = await scene.new_runs(connections)
    until = time.perf_counter() + scene.scale.ranks_s
    count = -(-scene.scale.ranks // _STREAMS_A_CHANNEL)
    async with contextlib.AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
        channels = [
            await opened.enter_async_context(
                grpc.aio.insecure_channel(str(scene.grpc_address), options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(count)
        ]
        for number in range(scene.scale.ranks):
            rank = _Rank(number, run_id, told, ends_at=until)
            delay_s = number / scene.scale.ranks * _PERIOD_S
            tasks.create_task(rank.run(ingest_pb2_grpc.IngestServiceStub(channels[number % count]), delay_s))


class _Rank:
    """A session that sends a batch each second, and goes on where it was when its stream ends."""

    def __init__(self, number: int, run_id: str, told: _Told, *, ends_at: float) -> None:
        self._number = number
        self._run_id = run_id
        self._told = told
        self._ends_at = ends_at
        self._session = ingest_pb2.Session(session_id=uuid.uuid4().hex, epoch=1)
        self._acknowledged = 0
        self._newest = 0
        self._sent_at: dict[int, float] = {}

    async def run(self, stub: ingest_pb2_grpc.IngestServiceStub, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while time.perf_counter() < self._ends_at:
            try:
                async for answer in stub.IngestStream(self._requests()):
                    self._note(answer.acknowledged_sequence)
            except grpc.aio.AioRpcError as error:
                # Connections are closed from time to time, so that clients spread.
                self._told.refusals += error.code() is not grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(_RETRY_S)

    async def _requests(self) -> AsyncIterator[ingest_pb2.IngestStreamRequest]:
        yield ingest_pb2.IngestStreamRequest(open=self._session, acknowledged_sequence=self._acknowledged)
        number = self._acknowledged
        due = time.perf_counter()
        while time.perf_counter() < self._ends_at:
            number += 1
            self._sent_at.setdefault(number, time.perf_counter())
            yield ingest_pb2.IngestStreamRequest(batch=self._batch(number))
            due = max(due + _PERIOD_S, time.perf_counter())
            await asyncio.sleep(due - time.perf_counter())

    def _note(self, acknowledged: int) -> None:
        now = time.perf_counter()
        for number in range(self._acknowledged + 1, acknowledged + 1):
            self._told.took_s.append(now - self._sent_at.pop(number, now))
        self._acknowledged = acknowledged

    def _batch(self, number: int) -> ingest_pb2.Batch:
        return ingest_pb2.Batch(
            sequence=number,
            run_id=self._run_id,
            points=ingest_pb2.PointColumns(
                keys=[f"metric-{place}" for place in range(_METRICS)],
                counts=[1] * _METRICS,
                steps=np.full(_METRICS, number, "<i8").tobytes(),
                timestamps=np.full(_METRICS, 1_700_000_000_000 + 1000 * number + self._number, "<i8").tobytes(),
                values=np.random.default_rng(number).standard_normal(_METRICS).tobytes(),
            ),
        )
