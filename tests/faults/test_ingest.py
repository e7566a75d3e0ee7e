"""What a stream has acknowledged is there once, whatever is killed or cut, and all of it gets there in the end.

`make faults` runs each for minutes instead of seconds.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import grpc
import pytest

from modelstead.tracking.v1 import runs_pb2, runs_pb2_grpc
from services.local import waiting
from tests.faults.proxy import Proxy, seeded
from tests.faults.writers import POINTS_MIN, SingleWriter, Writer, check_all_is_there_once, write
from tests.long_form import IS_LONG, TEST_TIMEOUT_S
from tests.stack import Stack

# How often writers are disturbed, and by what.
pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)

_KILLS = 60 if IS_LONG else 6
_LOST_ANSWERS = 200 if IS_LONG else 12
_CUTS = 120 if IS_LONG else 10


def test_kills_of_tracking_and_postgres_lose_and_double_nothing(own_stack: Stack) -> None:
    chance = seeded("kills")

    def kill() -> None:
        time.sleep(chance.uniform(2, 5))
        if chance.random() < 0.5:
            own_stack.kill("tracking")
            own_stack.start("tracking")
        else:
            own_stack.postgres.kill()
            own_stack.postgres.start()
        assert waiting.until(own_stack.tracking_is_ready, timeout_s=60)

    writers = write(own_stack.grpc_address, kill, times=_KILLS)

    check_all_is_there_once(own_stack, writers)
    _check_alive(own_stack)


@pytest.mark.parametrize(("kind", "points_min"), [(Writer, POINTS_MIN), (SingleWriter, 50_000)])
def test_answers_lost_after_the_commit_double_nothing(own_stack: Stack, kind: type[Writer], points_min: int) -> None:
    chance = seeded("lost answers")
    with Proxy(own_stack.grpc_address) as proxy:
        writers = write(
            proxy.address,
            lambda: _lose_answers(proxy, chance),
            times=_LOST_ANSWERS,
            kind=kind,
            points_min=points_min,
        )

    check_all_is_there_once(own_stack, writers)


@pytest.mark.alone
def test_stream_that_is_cut_goes_on(own_stack: Stack) -> None:
    chance = seeded("cuts")
    with Proxy(own_stack.grpc_address) as proxy:

        def cut() -> None:
            time.sleep(chance.uniform(1, 3) if IS_LONG else chance.uniform(0.3, 1.5))
            proxy.cut()

        writers = write(proxy.address, cut, times=_CUTS)

    check_all_is_there_once(own_stack, writers)
    moments = sorted(moment for writer in writers for moment in writer.resumptions_s)
    p99 = moments[int(len(moments) * 0.99)]
    print(f"{len(moments)} resumptions, p99 {p99:.2f} s")
    assert p99 < 1.0


def _lose_answers(proxy: Proxy, chance: random.Random) -> None:
    time.sleep(chance.uniform(0.2, 0.8))
    proxy.is_deaf.set()
    time.sleep(chance.uniform(0.05, 0.3))
    proxy.cut()
    proxy.is_deaf.clear()


def _check_alive(stack: Stack) -> None:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        created = runs_pb2_grpc.RunServiceStub(channel).CreateRun(
            runs_pb2.CreateRunRequest(experiment_id="0"), timeout=60
        )
    assert created.run.info.run_id


@pytest.fixture(autouse=True)
def _no_leftover_threads() -> Iterator[None]:
    yield
    assert not [thread for thread in threading.enumerate() if isinstance(thread, Writer) and thread.is_alive()]
