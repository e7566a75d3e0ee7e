"""`python -m tests.faults.load ADDRESS`: a process that brings batches to tracking, and tells what became of them.

Closed: so many callers, each of whom brings the next batch when the last one is dealt with, or every so many seconds if
that is later, as ranks do. Open: so many batches a second, whatever becomes of them. Batches that are refused are
brought again, under their number.
"""

import argparse
import asyncio
import base64
import functools
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

import grpc
import grpc.aio
import numpy as np
import uvloop

from modelstead.runs import connection
from modelstead.tracking.v1 import ingest_pb2 as pb
from tests import ingest

_CALL_TIMEOUT_S = 30.0
_METRICS = 10
_BEGUN = "begun\n"
_PATH = "/modelstead.tracking.v1.IngestService/IngestBatch"

Send = Callable[..., Awaitable[pb.IngestBatchResponse]]


@dataclass(kw_only=True)
class Outcome:
    """What became of batches; latencies are of those that were acknowledged."""

    seconds: float = 0.0
    acknowledged: int = 0
    latencies_s: list[float] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    without_pushback: int = 0

    @property
    def rate(self) -> float:
        """Batches that were acknowledged a second."""
        return self.acknowledged / self.seconds

    def quantile_s(self, share: float) -> float:
        """Return how long the given share of batches took at most."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def run(address: str, **options: str | float) -> Outcome:
    """Bring batches by a process of its own, which ends after `seconds`; the options are those of the command line."""
    with start(address, **options) as process:
        return finished(process)


def start(address: str, **options: str | float) -> "subprocess.Popen[str]":
    """Begin to do so and return the process, each of whose callers has brought something by now."""
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.faults.load", address, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == _BEGUN
    return process


def finished(process: "subprocess.Popen[str]") -> Outcome:
    """Wait for what a process tells."""
    out, _ = process.communicate()
    assert process.returncode == 0
    return Outcome(**json.loads(out))


class Sender:
    """A session, of which one batch is under way at a time."""

    def __init__(self, points: int) -> None:
        self._session = ingest.session()
        self._run_id = ingest.new_id()
        self._points = points
        self._sequence = 1

    async def bring(self, send: Send, outcome: Outcome, metadata: object) -> float:
        """Bring the next batch. Returns how long to wait, as the server wants it."""
        start = pb.StartRun(start_time=1) if self._sequence == 1 else None
        batch = pb.Batch(sequence=self._sequence, run_id=self._run_id, start=start)
        request = pb.IngestBatchRequest(session=self._session, batch=batch).SerializeToString()
        # In their wire form, messages that follow each other are one.
        request += _points(self._points, self._sequence)
        began = time.perf_counter()
        try:
            await send(request, timeout=_CALL_TIMEOUT_S, metadata=metadata, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            outcome.refused[error.code().name] = outcome.refused.get(error.code().name, 0) + 1
            delay_s = connection.failure(error).retry_after_s
            outcome.without_pushback += delay_s is None
            return delay_s or 0.0
        self._sequence += 1
        outcome.acknowledged += 1
        outcome.latencies_s.append(time.perf_counter() - began)
        return 0.0


async def _main(options: argparse.Namespace) -> Outcome:
    outcome, points = Outcome(), options.points
    credentials = base64.b64encode(f"{options.caller}:".encode()).decode()
    metadata = (("authorization", f"Basic {credentials}"),) if options.caller else ()
    async with grpc.aio.insecure_channel(options.address) as channel:
        send: Send = channel.unary_unary(_PATH, response_deserializer=pb.IngestBatchResponse.FromString)
        # What is measured begins when the connections and the runs are there.
        senders = [Sender(points) for _ in range(options.callers)]
        await asyncio.gather(*(each.bring(send, Outcome(), metadata) for each in senders or [Sender(points)]))
        print(_BEGUN, end="", flush=True)
        began = time.perf_counter()
        until = began + options.seconds

        async def call(sender: Sender, due: float) -> None:
            while time.perf_counter() < until:
                delay_s = await sender.bring(send, outcome, metadata)
                due = max(due + options.period, time.perf_counter() + delay_s)
                await asyncio.sleep(due - time.perf_counter())

        async def once(sender: Sender, free: deque[Sender]) -> None:
            await sender.bring(send, outcome, metadata)
            free.append(sender)

        async with asyncio.TaskGroup() as tasks:
            for place, sender in enumerate(senders):
                tasks.create_task(call(sender, began - options.period * place / options.callers))
            free, due = deque[Sender](), began
            while options.rate and time.perf_counter() < until:
                tasks.create_task(once(free.popleft() if free else Sender(points), free))
                due += 1 / options.rate
                await asyncio.sleep(max(due - time.perf_counter(), 0))
            await asyncio.sleep(max(until - time.perf_counter(), 0))
            outcome.seconds = time.perf_counter() - began
            acknowledged = outcome.acknowledged
        # What was acknowledged within the time is what counts.
        outcome.acknowledged = acknowledged
    return outcome


@functools.lru_cache(maxsize=256)
def _points(count: int, number: int) -> bytes:
    """Return a request with so many points of ten metrics, which follow those of the batch before, and nothing else.

    Made once: a load that takes half of the machine to make leaves the server the other half.
    """
    each = count // _METRICS
    steps = np.arange(number * each, (number + 1) * each)
    points = pb.PointColumns(
        keys=[f"m{place}" for place in range(_METRICS)],
        counts=[each] * _METRICS,
        steps=np.tile(steps, _METRICS).tobytes(),
        timestamps=np.tile(steps + 1_700_000_000_000, _METRICS).tobytes(),
        values=np.random.default_rng(number).standard_normal(each * _METRICS).tobytes(),
    )
    return pb.IngestBatchRequest(batch=pb.Batch(points=points)).SerializeToString()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--caller", default="")
    parser.add_argument("--callers", type=int, default=0)
    parser.add_argument("--period", type=float, default=0)
    parser.add_argument("--rate", type=float, default=0)
    return parser


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_main(_parser().parse_args())))))
