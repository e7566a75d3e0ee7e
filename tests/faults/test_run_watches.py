"""Who watches a run is told each point once, whatever is killed or cut; who watches slowly costs the server nothing.

`make faults` disturbs for longer.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pytest

import modelstead
from modelstead.runs.watching import Points, RunState
from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc, run_watches_pb2, run_watches_pb2_grpc
from services.local import waiting
from tests import ingest
from tests.faults.proxy import Proxy, seeded
from tests.long_form import IS_LONG, TEST_TIMEOUT_S
from tests.stack import Stack

pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)

_KILLS = 30 if IS_LONG else 3
_CUTS = 5
_WATCHERS = 3
_PATIENCE_S = 300.0
_SLOW_WATCHERS = 50
_SLOW_POINTS = 10_000_000 if IS_LONG else 2_000_000
_GROWTH_MB_MAX = 100


class Follower(threading.Thread):
    """A program that follows a run to its end."""

    def __init__(self, address: str, run_id: str) -> None:
        super().__init__(daemon=True)
        self.steps: list[int] = []
        self.status = ""
        self._watch = modelstead.watch_run(run_id, address=address, every_point=True)

    def run(self) -> None:
        for told in self._watch:
            if isinstance(told, RunState):
                self.status = told.status
            else:
                assert isinstance(told, Points)
                assert not told.restarted
                self.steps += told.steps


def test_each_point_is_told_once_while_tracking_is_killed_and_connections_are_cut(
    own_stack: Stack, tmp_path: Path
) -> None:
    chance = seeded("watched kills")
    run = modelstead.start_run(own_stack.grpc_address, spool_dir=tmp_path / "spool")
    assert run.flush(60)
    logging = _Logging(run)
    with Proxy(own_stack.grpc_address) as proxy:
        followers = [Follower(proxy.address, run.run_id) for _ in range(_WATCHERS)]
        for thread in (logging, *followers):
            thread.start()
        for _ in range(_KILLS):
            for _ in range(_CUTS):
                time.sleep(chance.uniform(0.1, 0.4))
                proxy.cut()
            own_stack.kill("tracking")
            own_stack.start("tracking")
            assert waiting.until(own_stack.tracking_is_ready, timeout_s=60)
        logging.finish()
        for follower in followers:
            follower.join(timeout=_PATIENCE_S)

        for follower in followers:
            assert not follower.is_alive(), f"{len(follower.steps)} of {logging.count} points"
            assert follower.status == "FINISHED"
            assert follower.steps == list(range(logging.count)), Counter(follower.steps).most_common(3)


class _Logging(threading.Thread):
    """Training, and its end."""

    def __init__(self, run: modelstead.Run) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self._run = run
        self._ending = threading.Event()

    def finish(self) -> None:
        self._ending.set()
        self.join()
        self._run.end()
        assert self._run.flush(_PATIENCE_S)

    def run(self) -> None:
        pace = random.Random(1)
        while not self._ending.wait(pace.uniform(0, 0.01)):
            self._run.log({"m": float(self.count)}, step=self.count)
            self.count += 1


@pytest.mark.alone
def test_watchers_that_do_not_read_take_no_memory(own_stack: Stack) -> None:
    run_id, sender = ingest.new_id(), ingest.session()
    with grpc.insecure_channel(own_stack.grpc_address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        _log(stub, sender, run_id, 1)
        watching = [_unread(own_stack.grpc_address, run_id) for _ in range(_SLOW_WATCHERS)]
        before = _rss_mb(own_stack)

        for number in range(2, _SLOW_POINTS // _BATCH_POINTS):
            _log(stub, sender, run_id, number)
        grown = _rss_mb(own_stack) - before

        print(f"{_SLOW_WATCHERS} watchers that do not read, {_SLOW_POINTS:,} points: {grown:.0f} MB more")
        assert grown < _GROWTH_MB_MAX
        for open_channel, call in watching:
            # They go on from where they are, with what is left in order.
            steps = [step for _, message in zip(range(20), call, strict=False) for step in message.points.steps]
            assert steps == sorted(set(steps))
            call.cancel()
            open_channel.close()


_BATCH_POINTS = 20_000


def _log(stub: ingest_pb2_grpc.IngestServiceStub, sender: pb.Session, run_id: str, number: int) -> None:
    steps = np.arange((number - 1) * _BATCH_POINTS, number * _BATCH_POINTS)
    columns = pb.PointColumns(
        keys=["m"],
        counts=[_BATCH_POINTS],
        steps=steps.tobytes(),
        timestamps=(steps + 1_000).tobytes(),
        values=steps.astype("<f8").tobytes(),
    )
    start = pb.StartRun(start_time=1) if number == 1 else None
    batch = pb.Batch(sequence=number, run_id=run_id, start=start, points=columns)
    answer = stub.IngestBatch(pb.IngestBatchRequest(session=sender, batch=batch), wait_for_ready=True)
    assert answer.acknowledged_sequence == number


def _unread(address: str, run_id: str) -> tuple[grpc.Channel, grpc.Call]:
    """Begin to watch every point, and read the first message only."""
    # A channel each, so that none waits behind another's window.
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    request = run_watches_pb2.WatchRunRequest(run_id=run_id, every_point=True)
    call = run_watches_pb2_grpc.RunWatchServiceStub(channel).WatchRun(request, wait_for_ready=True)
    assert next(call).HasField("run")
    return channel, call


def _rss_mb(stack: Stack) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{stack.process('tracking').pid}/status").read_text())
    assert found
    return int(found.group(1)) / 1024
