"""However a training job starts processes and ends, what it has logged arrives, once, in sessions of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelstead.runs import sync
from modelstead.spool import sessions
from modelstead.tracking.v1 import ingest_pb2 as pb
from tests.client.jobs import CHILDREN, STEPS
from tests.client.server import IngestServer

_TIMEOUT_S = 150
# How long what `log` took may be in memory only: the interval, and as long again for a busy machine's scheduler.
_WINDOW_NS = 250_000_000


@contextmanager
def _job(name: str, server: IngestServer, spool: Path, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.client.jobs", name, server.address, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _run_id(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def _sync(spool: Path) -> sync.Outcome:
    return sync.run(spool, address=None, progress=lambda *_: None)


@pytest.mark.parametrize(
    ("name", "children", "status", "exit_code"),
    [
        ("returns", 0, pb.EndRun.FINISHED, 0),
        ("exits", 0, pb.EndRun.FINISHED, 3),
        ("raises", 0, pb.EndRun.FAILED, 1),
        ("raises-past-nobody", 0, pb.EndRun.FAILED, 1),
        ("raises-at-a-prompt", 0, pb.EndRun.FINISHED, 1),
        ("is-interrupted", 0, pb.EndRun.KILLED, -signal.SIGINT),
        ("threads", CHILDREN, pb.EndRun.FINISHED, 0),
        ("forks", CHILDREN, pb.EndRun.FINISHED, 0),
        ("forks-after-having-sent", CHILDREN, pb.EndRun.FINISHED, 0),
        ("forks-and-flushes", CHILDREN, pb.EndRun.FINISHED, 0),
        ("forks-by-hand", CHILDREN, pb.EndRun.FINISHED, 0),
        ("spawns", CHILDREN, pb.EndRun.FINISHED, 0),
        ("loaders", CHILDREN, pb.EndRun.FINISHED, 0),
    ],
)
def test_a_job_that_ends_has_sent_everything(
    server: IngestServer, spool: Path, name: str, children: int, status: int, exit_code: int
) -> None:
    with _job(name, server, spool) as process:
        run_id = _run_id(process)
        _, told = process.communicate(timeout=_TIMEOUT_S)

    run = server.run(run_id)
    assert process.returncode == exit_code, told
    assert "not sent" not in told
    for key in ["m", *(f"m{number}" for number in range(children))]:
        assert run.steps(key) == list(range(STEPS)), key
    assert run.steps("before") in ([], list(range(STEPS)))
    assert run.end is not None
    assert run.end.status == status
    processes = 1 + (children if name not in ("threads",) else 0)
    assert len(server.marks) == processes, "processes share a session"
    if name != "loaders":
        assert sessions.find(spool) == []


def test_a_child_that_waits_is_not_held_back(server: IngestServer, spool: Path) -> None:
    with _job("forks-and-flushes", server, spool, MODELSTEAD_SEND_INTERVAL_S="3600") as process:
        run_id = _run_id(process)
        _, told = process.communicate(timeout=_TIMEOUT_S)

    # A child that waits in vain has failed.
    assert process.returncode == 0, told
    assert server.run(run_id).steps("m0") == list(range(STEPS))


@pytest.mark.parametrize("thread", ["recorder", "adoption", "exit", "sender", "watch"])
def test_a_thread_that_cannot_be_made_is_made_later(server: IngestServer, spool: Path, thread: str) -> None:
    with _job("returns", server, spool, REFUSED_THREAD=f"modelstead-{thread}") as process:
        run_id = _run_id(process)
        _, told = process.communicate(timeout=_TIMEOUT_S)

    run = server.run(run_id)
    assert process.returncode == 0, told
    assert "not sent" not in told
    assert run.steps("m") == list(range(STEPS))
    assert run.end is not None
    assert sessions.find(spool) == []


def test_os_exit_loses_nothing_that_is_on_the_disk(server: IngestServer, spool: Path) -> None:
    server.stop()
    with _job("os-exit", server, spool) as process:
        run_id = _run_id(process)
        process.communicate(timeout=_TIMEOUT_S)
    server.start()

    outcome = _sync(spool)

    assert (outcome.sent, outcome.missing) == (1, 0)
    assert server.run(run_id).steps() == list(range(STEPS))


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("waits", {}),
        # What wakes the recorder is not the main thread.
        ("waits-while-a-thread-logs", {"RUN_ID": "a" * 32, "MODELSTEAD_RANK": "0", "MODELSTEAD_WORLD_SIZE": "1"}),
    ],
)
def test_sigterm_sends_what_is_left_ends_the_run_as_killed_and_kills(
    server: IngestServer, spool: Path, name: str, environ: dict[str, str]
) -> None:
    with _job(name, server, spool, **environ) as process:
        run_id = _run_id(process)
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_TIMEOUT_S)

    assert process.returncode == -signal.SIGTERM
    run = server.run(run_id)
    assert run.steps() == list(range(STEPS))
    assert run.end is not None
    assert run.end.status == pb.EndRun.KILLED


def test_a_second_sigterm_while_the_first_is_heeded_changes_nothing(server: IngestServer, spool: Path) -> None:
    server.is_answering.clear()
    with _job("waits", server, spool, EXIT_TIMEOUT_S="3") as process:
        _run_id(process)
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        told = ""
        while "sending" not in told:
            told += process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        told += process.communicate(timeout=_TIMEOUT_S)[1]

    assert process.returncode == -signal.SIGTERM
    assert [told.count(text) for text in ("sending", "not sent yet", "To send them")] == [1, 1, 1], told


def test_sigterm_is_heeded_also_while_handlers_of_others_raise(server: IngestServer, spool: Path) -> None:
    server.is_answering.clear()
    with _job("waits-with-a-handler-that-raises", server, spool) as process:
        run_id = _run_id(process)
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        while "sending" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGUSR1)
        server.is_answering.set()
        process.communicate(timeout=_TIMEOUT_S)

    run = server.run(run_id)
    assert process.returncode == -signal.SIGTERM
    assert run.steps() == list(range(STEPS))
    assert run.end is not None
    assert run.end.status == pb.EndRun.KILLED


@pytest.mark.parametrize("name", ["forks", "spawns"])
def test_children_of_a_rank_help_it_and_do_not_stand_for_it(server: IngestServer, spool: Path, name: str) -> None:
    server.heartbeat_period_s = 0.05
    with _job(name, server, spool, MODELSTEAD_RANK="0", MODELSTEAD_WORLD_SIZE="2") as process:
        _run_id(process)
        _, told = process.communicate(timeout=_TIMEOUT_S)

    assert process.returncode == 0, told
    assert len(server.marks) == 1 + CHILDREN
    assert len({sender.session_id for sender, _ in server.heartbeats}) == 1


@pytest.mark.alone
def test_the_end_of_a_job_is_bounded_when_the_server_says_nothing(server: IngestServer, spool: Path) -> None:
    server.is_answering.clear()
    with _job("returns", server, spool, EXIT_TIMEOUT_S="1") as process:
        run_id = _run_id(process)
        started = time.monotonic()
        _, told = process.communicate(timeout=_TIMEOUT_S)
        took_s = time.monotonic() - started
    server.is_answering.set()

    assert process.returncode == 0
    # Generous: what is asserted is that it ends, and says what it leaves.
    assert took_s < 20
    assert told.splitlines()[-1] == f"modelstead: To send them: modelstead sync {spool}"
    assert _sync(spool).sent == 1
    assert server.run(run_id).steps() == list(range(STEPS))


@pytest.mark.alone
@pytest.mark.parametrize("is_away", [True, False])
def test_what_log_has_taken_survives_sigkill_but_for_the_window(
    server: IngestServer, spool: Path, is_away: bool
) -> None:
    if is_away:
        server.stop()
    for delay_s in (0.3, 0.5, 0.8):
        with _job("logs-until-killed", server, spool) as process:
            run_id = _run_id(process)
            time.sleep(delay_s)
            killed_ns = time.monotonic_ns()
            process.kill()
            out, _ = process.communicate(timeout=_TIMEOUT_S)
        # The last line may be half of one, and lines of two writes may end in an empty one.
        lines = [words for line in out.splitlines()[:-1] if len(words := line.split()) == 2]
        promised = [int(step) for step, at in lines if int(at) < killed_ns - _WINDOW_NS]
        if is_away:
            server.start()

        _sync(spool)
        stored_count = server.stored_count
        again = _sync(spool)

        steps = server.run(run_id).steps()
        assert steps == list(range(len(steps)))
        assert set(promised) <= set(steps)
        assert again == sync.Outcome()
        assert server.stored_count == stored_count
        if is_away:
            server.stop()
