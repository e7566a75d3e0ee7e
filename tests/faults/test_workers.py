"""Several processes of each service on one address: they share what comes, and the loss of one is no loss.

`make faults` kills for minutes instead of seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from modelstead.tracking.v1 import status_pb2, status_pb2_grpc
from services.local import waiting
from services.local.plan import reachable
from tests.faults.proxy import seeded
from tests.faults.writers import POINTS_MIN, SingleWriter, Writer, check_all_is_there_once, write
from tests.long_form import IS_LONG, TEST_TIMEOUT_S
from tests.stack import Stack

WAIT_S = 60.0
BACKENDS = ("tracking", "artifacts", "registry")
SERVICES = (*BACKENDS, "gateway")
_WORKERS = 2
pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)

_KILLS = 40 if IS_LONG else 4
# Many kills are far enough apart that each worker counts as one that lived.
_PAUSE_S = (16.0, 20.0) if IS_LONG else (1.0, 3.0)
# A connection of its own, so that each has its chance.
_UNSHARED = (("grpc.use_local_subchannel_pool", 1),)


@pytest.fixture(scope="module")
def prefork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # With few connections, all of them may be to one of the workers; and so they may be until they have reached their
    # age, if the other was not there yet when they were made.
    aging = {"MODELSTEAD_CONNECTION_AGE_S": "5"}
    extra = {"gateway": {"MODELSTEAD_BACKEND_CONNECTIONS": "16"}} | dict.fromkeys(BACKENDS, aging)
    with Stack(tmp_path_factory.mktemp("prefork"), artifact_stores="", workers=_WORKERS, extra=extra) as running:
        yield running


def _workers(stack: Stack, service: str) -> set[int]:
    """The ids of the processes that a service's parent has."""
    parent = stack.process(service).pid
    return {int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()}


def _replica(stack: Stack) -> int:
    """The id of the process of tracking to which a new connection leads."""
    with grpc.insecure_channel(stack.grpc_address, options=_UNSHARED) as channel:
        stub = status_pb2_grpc.TrackingStatusServiceStub(channel)
        answer = stub.GetTrackingStatus(status_pb2.GetTrackingStatusRequest(), timeout=30, wait_for_ready=True)
    return int(answer.process.replica.rpartition("/")[2])


def _replica_through_gateway(stack: Stack, service: str) -> int:
    """The id of the process of a service to which the gateway, by a new connection, brings a call; 0 if to none."""
    address = reachable(stack.plan.settings.gateway)
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    try:
        connection.request("GET", f"/api/2.0/mlflow/status/{service}")
        answer = connection.getresponse()
        told = answer.read()
        return int(json.loads(told)["process"]["replica"].rpartition("/")[2]) if answer.status == 200 else 0
    finally:
        connection.close()


def _reaches(ask: Callable[[], int], expected: set[int]) -> bool:
    """Whether one comes to all of them, each time by a new connection, and to nobody else."""
    seen: set[int] = set()

    def has_seen_all() -> bool:
        seen.add(ask())
        return seen >= expected

    return waiting.until(has_seen_all, timeout_s=WAIT_S) and seen == expected


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_workers_share_what_comes_directly_and_through_the_gateway(prefork: Stack) -> None:
    for service in SERVICES:
        assert len(_workers(prefork, service)) == _WORKERS
    tracking = _workers(prefork, "tracking")

    assert _reaches(lambda: _replica(prefork), tracking)
    for service in BACKENDS:
        expected = _workers(prefork, service)
        assert _reaches(lambda name=service: _replica_through_gateway(prefork, name), expected), service  # type: ignore[misc]


@pytest.mark.parametrize(("kind", "points_min"), [(Writer, POINTS_MIN), (SingleWriter, 20_000)])
def test_a_worker_that_is_killed_loses_nothing_and_is_started_again(
    prefork: Stack, kind: type[Writer], points_min: int
) -> None:
    """Streams go on at whichever worker is left; single batches of one session come to either, again and again."""
    chance = seeded("workers")
    newest: set[int] = set()

    def kill() -> None:
        time.sleep(chance.uniform(*_PAUSE_S))
        before = _workers(prefork, "tracking")
        # Not the same place again and again: the parent would give it up.
        killed = chance.choice(sorted(before - newest))
        os.kill(killed, signal.SIGKILL)
        assert waiting.until(
            lambda: killed not in (now := _workers(prefork, "tracking")) and len(now) == _WORKERS, timeout_s=WAIT_S
        )
        # Soon again it would count as one that cannot live; what it takes in is how one knows that it has started.
        [new] = _workers(prefork, "tracking") - before
        assert waiting.until(lambda: _replica(prefork) == new, timeout_s=WAIT_S)
        newest.clear()
        newest.add(new)

    writers = write(prefork.grpc_address, kill, times=_KILLS, kind=kind, points_min=points_min)

    check_all_is_there_once(prefork, writers)


def test_a_stop_ends_all_workers_well(prefork: Stack) -> None:
    workers = {service: _workers(prefork, service) for service in SERVICES}

    for service in reversed(SERVICES):
        process = prefork.process(service)
        process.send(signal.SIGTERM)
        assert waiting.until(lambda ended=process: ended.ended, timeout_s=WAIT_S)  # type: ignore[misc]
        assert process.exit_code == 0, process.last_lines()

    assert all(_is_gone(pid) for pids in workers.values() for pid in pids)
    for service in SERVICES:
        prefork.start(service)
    prefork.wait_until_ready()


def test_workers_go_with_their_parent_and_leave_the_port(prefork: Stack) -> None:
    workers = _workers(prefork, "tracking")

    prefork.kill("tracking")

    assert waiting.until(lambda: all(_is_gone(pid) for pid in workers), timeout_s=WAIT_S)
    prefork.start("tracking")
    prefork.wait_until_ready()
    assert _replica(prefork) not in workers
