"""A parent sends the sessions of its forked children, wherever they are and whatever fails at first."""

import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelstead.runs import batches, settings
from modelstead.runs.process import Process
from modelstead.runs.run import Run, start_run
from modelstead.runs.sender import Sender
from modelstead.runs.settings import fallback_spool_dir
from modelstead.spool import sessions
from modelstead.spool.sessions import Info
from modelstead.spool.writer import Limits, Writer
from services.local import waiting
from tests.client import leftovers
from tests.client.server import IngestServer

_WAIT_S = 60.0


def _leave_child(folder: Path, run: Run, *, address: str) -> str:
    """Write what a forked child that is gone has left for its parent to send, one point; return its session."""
    sent_by = run._recorder.session_id
    return leftovers.leave(folder, address=address, key="child", run_id=run.run_id, sent_by=sent_by).name


def _has_arrived(server: IngestServer, run: Run) -> Callable[[], bool]:
    return lambda: server.run(run.run_id).steps("child") == [7]


def test_children_are_found_where_a_spool_goes_if_its_folder_cannot_be_made(
    server: IngestServer,
    tmp_path: Path,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = start_run(server.address, spool_dir=tmp_path / "file" / "spool", exit_timeout_s=_WAIT_S)
    assert run.flush(_WAIT_S)
    _leave_child(fallback_spool_dir(), run, address=server.address)

    process.after_fork_in_parent()

    assert waiting.until(_has_arrived(server, run), timeout_s=_WAIT_S)
    adoption = process._adoption
    assert adoption
    # Nothing is raised for the folder that cannot be looked at.
    assert waiting.until(lambda: not adoption.has_unsent(), timeout_s=_WAIT_S)
    assert "could not be looked for" not in caplog.text


def test_a_server_is_not_told_the_credentials_for_another_one(
    server: IngestServer, spool: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELSTEAD_TOKEN", raising=False)
    with IngestServer() as second, IngestServer() as third:
        run = start_run(server.address, spool_dir=spool, token="first", exit_timeout_s=_WAIT_S)
        assert run.flush(_WAIT_S)
        other = start_run(second.address, spool_dir=spool, token="second", exit_timeout_s=_WAIT_S)
        assert other.flush(_WAIT_S)
        children = [(one, _leave_child(spool, run, address=one.address)) for one in (server, second, third)]

        process.after_fork_in_parent()

        for one, _ in children:
            assert waiting.until(_has_arrived(one, run), timeout_s=_WAIT_S)
        told = [_credentials(one, session_id) for one, session_id in children]
        process.finish("FINISHED")
    assert told == [{"Bearer first"}, {"Bearer second"}, {None}]


def test_of_two_ways_to_log_to_a_server_the_newest_is_taken(
    server: IngestServer, spool: Path, process: Process
) -> None:
    run = start_run(server.address, spool_dir=spool, token="old", exit_timeout_s=_WAIT_S)
    assert run.flush(_WAIT_S)
    assert start_run(server.address, spool_dir=spool, token="new", exit_timeout_s=_WAIT_S).flush(_WAIT_S)
    child = _leave_child(spool, run, address=server.address)

    process.after_fork_in_parent()

    assert waiting.until(_has_arrived(server, run), timeout_s=_WAIT_S)
    told = _credentials(server, child)
    process.finish("FINISHED")
    assert told == {"Bearer new"}


# Forks while whoever adopts looks, for the first time in this process, where temporary files go.
_FORKS_MEANWHILE = """
import os, sys, tempfile, threading, time
from modelstead.runs.run import start_run

looking = threading.Event()

def look():
    looking.set()
    time.sleep(0.5)
    return sys.argv[1]

tempfile.tempdir, tempfile._get_default_tempdir = None, look
start_run("127.0.0.1:9", spool_dir=sys.argv[1]).log({"m": 1.0})
assert looking.wait(60)
child = os.fork()
if not child:
    os._exit(0 if tempfile._once_lock.acquire(timeout=5) else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_can_make_temporary_files(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORKS_MEANWHILE, str(tmp_path)], check=False, timeout=_WAIT_S)

    assert done.returncode == 0


def _credentials(server: IngestServer, session_id: str) -> set[str | None]:
    """Return what a server was told by who sent a session, each time that it was opened."""
    with server._lock:
        opened = zip(server.openings, server.metadata, strict=True)
        return {told.get("authorization") for opening, told in opened if opening.open.session_id == session_id}


def test_a_child_whose_session_could_not_be_taken_up_is_sent_later(
    server: IngestServer, spool: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[OSError] = []

    def make(*given: Any, **how: Any) -> Sender:
        if not failures:
            failures.append(OSError("no room to note who sends"))
            raise failures[0]
        return Sender(*given, **how)

    monkeypatch.setattr("modelstead.runs.adoption.Sender", make)
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S)
    assert run.flush(_WAIT_S)
    _leave_child(spool, run, address=server.address)

    process.after_fork_in_parent()

    assert waiting.until(_has_arrived(server, run), timeout_s=_WAIT_S)
    assert len(failures) == 1


def test_sessions_that_cannot_be_sent_are_told_once_and_hold_up_no_other(
    server: IngestServer, spool: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = leftovers.leave(spool, address=server.address, key="unreadable")
    leftovers.make_unreadable(unreadable)
    damaged = leftovers.leave(spool, address=server.address, key="damaged")
    (damaged / "state.json").unlink(missing_ok=True)
    (damaged / "state.json").mkdir()
    leftovers.leave(spool, address=server.address, key="orphan")
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S)

    orphans = server.run(leftovers.RUN_ID)
    assert waiting.until(lambda: orphans.steps("orphan") == [7], timeout_s=_WAIT_S)
    # Children are looked for again and again.
    assert run.flush(_WAIT_S)
    process.after_fork_in_parent()
    _leave_child(spool, run, address=server.address)

    assert waiting.until(_has_arrived(server, run), timeout_s=_WAIT_S)
    [told] = [line for line in caplog.messages if "cannot be sent from here now" in line]
    assert str(unreadable) in told or str(damaged) in told
    assert "(and 1 more)" in told
    assert [key for key, _, _ in orphans.points] == ["orphan"]


def test_what_another_process_is_to_send_is_looked_at_once(
    server: IngestServer, spool: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S)
    assert run.flush(_WAIT_S)
    # It is no orphan either.
    others = leftovers.leave(spool, address=server.address, key="others", sent_by="0" * 32, host="elsewhere")
    process.after_fork_in_parent()
    _leave_child(spool, run, address=server.address)
    # Who has found that one has seen the one before it.
    assert waiting.until(_has_arrived(server, run), timeout_s=_WAIT_S)
    leftovers.make_unreadable(others)

    assert process._adoption
    process._adoption.has_unsent()

    assert "cannot be sent from here now" not in caplog.text


def test_what_a_living_child_logs_waits_for_more_unless_somebody_waits_for_it(
    server: IngestServer, spool: Path
) -> None:
    child = sessions.create(
        spool, Info(session_id=uuid.uuid4().hex, address=server.address, created_ms=1, process_id=1, host="")
    )
    writer = Writer(child.files, session_id=bytes(16), epoch=1, limits=Limits(), acknowledged=lambda: 0)

    def log(step: int) -> None:
        [batch] = batches.of([(leftovers.RUN_ID, step, 1000, ("m",), (0.5,), "")])
        writer.append(batch.payload, points=batch.points)

    log(1)
    [session] = sessions.find(spool)
    assert session.lock_sender()
    how = settings.load(address=server.address, spool_dir=spool, send_interval_s=3600)
    sender = Sender(session, how, until_done=True)
    sender.start()
    run = server.run(leftovers.RUN_ID)
    assert waiting.until(lambda: sender.acknowledged_sequence == 1, timeout_s=_WAIT_S)
    assert waiting.until(lambda: sender._bursts.wait_s(1, time.monotonic()) > 0, timeout_s=_WAIT_S)

    log(2)
    # It looks after its session several times meanwhile.
    time.sleep(1.0)
    log(3)
    child.await_sender()
    assert waiting.until(lambda: run.steps() == [1, 2, 3], timeout_s=_WAIT_S)
    log(4)
    assert waiting.until(sender.is_at_rest, timeout_s=_WAIT_S)
    at_rest = run.steps()
    log(5)
    child.close()

    assert waiting.until(lambda: not sender.is_alive, timeout_s=_WAIT_S)
    assert at_rest == [1, 2, 3, 4]
    assert run.steps() == [1, 2, 3, 4, 5]
    assert server.requests == [1, 2, 1, 1]
    assert sessions.find(spool) == []
