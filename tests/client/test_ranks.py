"""Processes of a distributed job: they begin one run without asking anybody, say that they live, and leave it."""

import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelstead.runs import sync
from modelstead.runs.process import Process
from modelstead.runs.run import Run, start_run
from modelstead.runs.settings import SettingsError
from modelstead.tracking.v1 import ingest_pb2 as pb
from services.local import waiting
from tests.client.server import IngestServer

_WAIT_S = 60


@pytest.fixture
def server() -> Iterator[IngestServer]:
    with IngestServer() as running:
        running.heartbeat_period_s = 0.05
        yield running


@pytest.fixture
def start(server: IngestServer, spool: Path, process: Process) -> Callable[..., Run]:
    def begin(rank: int | None = 0, **how: Any) -> Run:
        given = {"spool_dir": spool, "exit_timeout_s": _WAIT_S, "world_size": 4, "rank": rank, "node": "n", **how}
        return start_run(server.address, **given)

    return begin


def _heartbeats(server: IngestServer, rank: int = 0) -> list[list[str]]:
    return [list(heartbeat.run_ids) for sender, heartbeat in list(server.heartbeats) if sender.rank.rank == rank]


def test_64_ranks_that_start_at_once_begin_one_run(server: IngestServer, start: Callable[..., Run]) -> None:
    barrier = threading.Barrier(64)
    runs: list[Run] = []

    def begin(rank: int) -> None:
        barrier.wait()
        run = start(rank, world_size=64, launch_id="job", experiment="e")
        run.log({"m": float(rank)}, step=rank)
        runs.append(run)

    threads = [threading.Thread(target=begin, args=(rank,)) for rank in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(run.flush(_WAIT_S) for run in runs)
    assert {run.run_id for run in runs} == set(server.runs)
    assert len(server.runs) == 1
    assert sorted(server.run(runs[0].run_id).steps()) == list(range(64))
    opened = {opening.open.rank.rank for opening in server.openings}
    assert opened == set(range(64))


def test_runs_of_another_launch_experiment_or_number_are_others(
    start: Callable[..., Run], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSTEAD_LAUNCH_ID", "job")
    first, second, other = start(), start(), start(experiment="other")
    again = Process()
    again.watches_exit = False
    monkeypatch.setattr("modelstead.runs.run.CURRENT", again)
    anew = [start().run_id, start().run_id, start(experiment="other").run_id]
    again.finish("FINISHED")

    assert [first.run_id, second.run_id, other.run_id] == anew
    assert len(set(anew)) == 3
    # An argument names one run, however often it is begun.
    assert start(launch_id="job").run_id == start(launch_id="job").run_id == first.run_id


def test_a_launch_and_a_run_cannot_both_be_named(start: Callable[..., Run]) -> None:
    with pytest.raises(SettingsError, match="launch_id='a' and run_id='b'"):
        start(launch_id="a", run_id="b")


def test_heartbeats_name_the_runs_that_go_on_also_when_nothing_is_logged(
    server: IngestServer, start: Callable[..., Run]
) -> None:
    run, other = start(), start()

    assert waiting.until(lambda: _heartbeats(server)[-1:] == [[run.run_id, other.run_id]], timeout_s=_WAIT_S)
    count = len(_heartbeats(server))
    assert waiting.until(lambda: len(_heartbeats(server)) > count + 3, timeout_s=_WAIT_S)
    run.end()
    assert waiting.until(lambda: _heartbeats(server)[-1] == [other.run_id], timeout_s=_WAIT_S)
    # What is logged late does not take part again.
    run.log({"m": 1.0})
    assert run.flush(_WAIT_S)
    count = len(_heartbeats(server))
    assert waiting.until(lambda: len(_heartbeats(server)) > count + 1, timeout_s=_WAIT_S)
    assert _heartbeats(server)[-1] == [other.run_id]


def test_heartbeats_go_on_when_the_server_is_back(server: IngestServer, start: Callable[..., Run]) -> None:
    run = start()
    assert waiting.until(lambda: bool(_heartbeats(server)), timeout_s=_WAIT_S)

    server.stop()
    server.heartbeats.clear()
    server.start()

    assert waiting.until(lambda: _heartbeats(server)[-1:] == [[run.run_id]], timeout_s=_WAIT_S)


def test_server_that_wants_no_heartbeats_gets_none(server: IngestServer, start: Callable[..., Run]) -> None:
    server.heartbeat_period_s = 0
    run = start()
    run.log({"m": 1.0})

    assert run.flush(_WAIT_S)
    assert not server.heartbeats
    assert server.run(run.run_id).steps() == [0]


def test_process_that_is_no_rank_says_nothing_of_the_kind(server: IngestServer, start: Callable[..., Run]) -> None:
    run = start(rank=None)
    assert run.flush(_WAIT_S)

    assert (run.rank, server.openings[0].open.HasField("rank"), server.heartbeats) == (None, False, [])


def test_worker_that_helps_a_rank_logs_for_it_and_does_not_stand_for_it(
    server: IngestServer, start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a data loader's worker.
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    run = start(rank=2, run_id="a" * 32)
    run.log({"m": 1.0})

    assert run.flush(_WAIT_S)
    assert (server.openings[0].open.rank.rank, server.heartbeats) == (2, [])


def test_rank_leaves_a_run_of_somebody_else_when_its_process_ends(
    server: IngestServer, start: Callable[..., Run], process: Process
) -> None:
    run, plain = start(run_id="a" * 32), start(rank=None, run_id="b" * 32)
    run.log({"m": 1.0})
    plain.log({"m": 1.0})

    process.finish("FINISHED")

    assert server.run(run.run_id).end is not None
    assert server.run(plain.run_id).end is None


def test_what_a_dead_rank_has_left_is_sent_as_its_own_and_does_not_say_that_it_lives(
    server: IngestServer, spool: Path, start: Callable[..., Run], process: Process
) -> None:
    server.stop()
    run = start(rank=3)
    run.log({"m": 1.0})
    assert run.flush(_WAIT_S, acknowledged=False)
    # As if the process had been killed.
    session, sender = run._recorder._session, run._recorder._sender
    assert session
    assert sender
    # First of all it forgets what it had: else it would look itself for what it has left.
    process._recorders.clear()
    process._runs.clear()
    sender.stop(_WAIT_S)
    session.close()
    server.start()

    outcome = sync.run(spool, address=None, progress=lambda *_: None)

    assert outcome.sent == 1
    assert server.openings[-1].open.rank == pb.Rank(rank=3, world_size=4, node="n")
    assert not server.heartbeats
    assert server.run(run.run_id).steps() == [0]


def test_system_metrics_have_mlflows_names_and_end_with_the_run(
    server: IngestServer, start: Callable[..., Run]
) -> None:
    run = start(system_metrics=True, system_metrics_interval_s=0.05)
    assert waiting.until(lambda: len(server.run(run.run_id).points) > 30, timeout_s=_WAIT_S)
    run.end()
    assert run.flush(_WAIT_S)

    points = server.run(run.run_id).points
    names = {key for key, _, _ in points}
    assert {
        f"system/n/{name}"
        for name in (
            "cpu_utilization_percentage",
            "system_memory_usage_megabytes",
            "system_memory_usage_percentage",
            "disk_usage_percentage",
            "disk_usage_megabytes",
            "disk_available_megabytes",
            "network_receive_megabytes",
            "network_transmit_megabytes",
        )
    } <= names
    steps = [step for key, step, _ in points if key == "system/n/cpu_utilization_percentage"]
    assert steps == list(range(len(steps)))
    assert all(value >= 0 for _, _, value in points)
    sampler = run._sampler
    assert sampler
    sampler._thread.join(_WAIT_S)
    assert not sampler._thread.is_alive()


def test_without_psutil_training_goes_on_and_is_told_what_is_missing(
    server: IngestServer,
    start: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psutil", None)
    with caplog.at_level(logging.WARNING, logger="modelstead"):
        run = start(system_metrics=True, system_metrics_interval_s=0.05)
        assert waiting.until(lambda: "modelstead[system]" in caplog.text, timeout_s=_WAIT_S)

    run.log({"m": 1.0})
    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == [0]
