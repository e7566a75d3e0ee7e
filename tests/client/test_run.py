"""What a training loop logs arrives, once and in order, whatever the server does meanwhile."""

import errno
import json
import logging
import math
import pickle
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modelstead.runs import connection, settings, sync
from modelstead.runs.adoption import Adoption
from modelstead.runs.process import Process
from modelstead.runs.recorder import Recorder
from modelstead.runs.run import Run, start_run
from modelstead.runs.sender import Sender
from modelstead.runs.settings import SPOOL_BYTES_MIN, SettingsError
from modelstead.spool import sessions
from modelstead.spool.writer import POINTS, SpoolFull, Writer, segment_names
from modelstead.tracking.v1 import ingest_pb2 as pb
from services.local import waiting
from tests.client import leftovers
from tests.client.server import IngestServer
from tests.receivers import Answer, Receiver

_WAIT_S = 60.0


@pytest.fixture
def run(server: IngestServer, spool: Path, process: Process) -> Run:
    return start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S, experiment="e", run_name="r")


@pytest.fixture
def dead(server: IngestServer, spool: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of a process that was killed after 20 steps, and never met the server, which is away."""
    server.stop()
    gone = Process()
    gone.watches_exit = False
    # Or it would look itself for what dead processes have left, as soon as it is one.
    gone._adoption = Adoption(())
    with monkeypatch.context() as patch:
        patch.setattr("modelstead.runs.run.CURRENT", gone)
        run = start_run(server.address, spool_dir=spool)
    _logged(run, range(20))
    assert run.flush(_WAIT_S, acknowledged=False)
    run._recorder.sync()
    session, sender = run._recorder._session, run._recorder._sender
    assert session
    assert sender
    sender.stop(_WAIT_S)
    session.close()
    return run


def _on_disk(run: Run) -> int:
    """Return how many batches there are of what was logged."""
    writer = run._recorder._writer
    assert writer
    return writer.last_sequence


def _logged(run: Run, steps: range) -> None:
    for step in steps:
        run.log({"m": step * 0.5}, step=step)


def test_everything_that_is_logged_arrives_in_order(server: IngestServer, spool: Path, process: Process) -> None:
    with start_run(server.address, spool_dir=spool, experiment="e", run_name="r", params={"lr": 0.1}) as run:
        run.set_tags({"team": "vision"})
        for step in range(100):
            run.log({"loss": 1.0 / (step + 1), "acc": step / 100}, step=step, timestamp=1000 + step)
    assert run.flush(_WAIT_S)

    stored = server.run(run.run_id)
    assert stored.start is not None
    assert (stored.start.experiment_name, stored.start.run_name) == ("e", "r")
    assert stored.params == {"lr": "0.1"}
    assert stored.tags == {"team": "vision"}
    assert [value for key, _, value in stored.points if key == "loss"] == [1.0 / (step + 1) for step in range(100)]
    assert stored.steps("acc") == list(range(100))
    assert stored.end is not None
    assert stored.end.status == pb.EndRun.FINISHED


def test_the_run_id_is_known_and_logging_works_while_the_server_is_away(
    server: IngestServer, spool: Path, process: Process
) -> None:
    server.stop()
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=5)
    _logged(run, range(50))
    assert run.flush(0.5) is False
    assert len(run.run_id) == 32

    server.start()

    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == list(range(50))


def test_replies_that_are_lost_after_the_commit_duplicate_nothing(
    server: IngestServer, spool: Path, process: Process
) -> None:
    server.replies_to_drop = 3
    server.request_bytes_max = 0
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S)
    for start in range(0, 50, 10):
        _logged(run, range(start, start + 10))
        # Each a batch of its own.
        assert run.flush(_WAIT_S, acknowledged=False)

    assert run.flush(_WAIT_S)
    assert server.replies_to_drop == 0
    assert server.run(run.run_id).steps() == list(range(50))
    assert server.stored_count == len({batch.sequence for batch in server.batches})


def test_batches_under_way_are_sent_again_when_a_stream_breaks_without_new_ones(server: IngestServer, run: Run) -> None:
    server.is_answering.clear()
    _logged(run, range(10))
    assert run.flush(_WAIT_S, acknowledged=False)
    assert waiting.until(lambda: len(server.openings) == 1, timeout_s=_WAIT_S)

    server.stop()
    server.start()

    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == list(range(10))


def test_no_more_is_under_way_than_the_window_allows(server: IngestServer, spool: Path, process: Process) -> None:
    server.window_bytes = 1
    # Before the run begins, which is a batch.
    server.is_answering.clear()
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S)
    for start in range(0, 30, 10):
        _logged(run, range(start, start + 10))
        assert run.flush(0.1) is False

    assert server.batches == []
    server.is_answering.set()
    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == list(range(30))


def test_what_follows_waits_for_more_unless_somebody_waits_for_it(
    server: IngestServer, spool: Path, process: Process
) -> None:
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S, send_interval_s=3600)
    # After a pause.
    assert waiting.until(lambda: len(server.batches) == 1, timeout_s=_WAIT_S)
    for step in range(30):
        run.log({"m": 1.0}, step=step)
        assert run.flush(_WAIT_S, acknowledged=False)
    waited = len(server.batches)

    assert run.flush(_WAIT_S)
    flushed = len(server.requests)
    run.log({"m": 1.0}, step=30)
    for number in range(7):
        run.log_params({f"p{number}{letter}": "x" * 5_900 for letter in "abcdefg"})
        assert run.flush(_WAIT_S, acknowledged=False)
    # More than is ever held back.
    assert waiting.until(lambda: len(server.run(run.run_id).params) == 49, timeout_s=_WAIT_S)

    assert (waited, flushed) == (1, 2)
    assert server.run(run.run_id).steps() == list(range(31))


@pytest.mark.parametrize("sent_by_parent", [False, True])
def test_what_is_held_back_does_not_fill_the_spool(server: IngestServer, spool: Path, sent_by_parent: bool) -> None:
    """A child's recorder is that of a process whose parent sends."""
    how = settings.load(
        address=server.address, spool_dir=spool, send_interval_s=3600, spool_bytes_max=SPOOL_BYTES_MIN, on_full="raise"
    )
    recorder = Recorder(how, on_start=lambda: None)
    recorder.sent_by = "0" * 32 if sent_by_parent else None
    senders = list[Sender]()
    for step in range(400):
        recorder.buffer.append((leftovers.RUN_ID, step, 1000, tuple(f"m{n}" for n in range(100)), (0.5,) * 100, ""))
        assert recorder.flush(_WAIT_S, acknowledged=False)
        if sent_by_parent and not senders:
            [session] = sessions.find(spool)
            assert session.lock_sender()
            senders = [Sender(session, how, until_done=True)]
            senders[0].start()
        # Never more than a spool has room for is ahead of the server, unless it is held back.
        assert waiting.until(lambda step=step: step - server.stored_count < 200, timeout_s=_WAIT_S)  # type: ignore[misc]

    assert recorder.flush(_WAIT_S)
    assert recorder.dropped_points == 0
    assert server.run(leftovers.RUN_ID).steps("m0") == list(range(400))
    for sender in senders:
        sender.stop(_WAIT_S)
    recorder.close()


def test_a_stream_on_which_nothing_is_under_way_may_be_quiet(
    server: IngestServer, spool: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelstead.runs.sender.ACKNOWLEDGEMENT_TIMEOUT_S", 6.0)
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S, send_interval_s=8.0)
    assert run.flush(_WAIT_S)
    # It waits for more, for longer than an acknowledgement may take.
    run.log({"m": 1.0}, step=0)
    assert waiting.until(lambda: server.run(run.run_id).steps() == [0], timeout_s=_WAIT_S)
    time.sleep(6.5)
    server.is_answering.clear()
    run.log({"m": 1.0}, step=1)

    flushed = run.flush(1.5)

    server.is_answering.set()
    assert not flushed
    assert run.flush(_WAIT_S)
    assert len(server.openings) == 1


@pytest.mark.parametrize(("request_bytes_max", "batches_a_request"), [(100_000, 256), (500, 10), (0, 1)])
def test_what_has_piled_up_is_sent_in_as_few_requests_as_the_server_allows(
    server: IngestServer, run: Run, request_bytes_max: int, batches_a_request: int
) -> None:
    server.request_bytes_max = request_bytes_max
    server.stop()
    for number in range(300):
        run.log_params({f"p{number}": number})
    assert run.flush(_WAIT_S, acknowledged=False)

    server.start()

    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).params == {f"p{number}": str(number) for number in range(300)}
    assert batches_a_request / 2 < max(server.requests) <= batches_a_request


def test_a_rejected_batch_is_kept_told_once_and_holds_up_nothing(
    server: IngestServer, run: Run, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.rejected_params = {"bad"}
    run.log_params({"bad": 1})
    assert run.flush(_WAIT_S)
    run.log_params({"before": 1})
    run.log_params({"bad": 2, "beside": 1})
    run.log_params({"after": 1})
    _logged(run, range(5))

    assert run.flush(_WAIT_S)

    [file] = (spool / "rejected").iterdir()
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    assert [entry["message"] for entry in entries] == ["param was logged", "param was logged"]
    assert {entry["run_id"] for entry in entries} == {run.run_id}
    assert server.run(run.run_id).params == {"before": "1", "after": "1"}
    assert server.run(run.run_id).steps() == list(range(5))
    assert len([line for line in caplog.messages if "param was logged" in line]) == 1


def test_a_refusal_of_credentials_is_told_and_what_is_logged_is_kept(
    server: IngestServer,
    spool: Path,
    process: Process,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modelstead.runs.sender.REFUSED_BACKOFF_S", 0.2)
    server.refusals = [(grpc.StatusCode.UNAUTHENTICATED, "You are not authenticated.")]
    run = start_run(server.address, spool_dir=spool, token="secret-token")

    _logged(run, range(3))

    assert run.flush(_WAIT_S)
    assert server.metadata[0]["authorization"] == "Bearer secret-token"
    assert "You are not authenticated." in caplog.text
    assert "secret-token" not in caplog.text + repr(run._settings)
    assert server.run(run.run_id).steps() == [0, 1, 2]


def test_a_session_that_somebody_else_has_taken_up_is_not_sent_any_more(
    server: IngestServer, spool: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=0.1)
    _logged(run, range(3))
    assert run.flush(_WAIT_S)
    [mark] = server.marks.values()
    mark.epoch = 99
    server.stop()
    server.start()

    _logged(run, range(3, 5))

    sender = run._recorder._sender
    assert sender
    assert waiting.until(lambda: not sender.is_alive, timeout_s=_WAIT_S)
    assert "taken up elsewhere" in caplog.text
    assert run.flush(1) is False
    assert server.run(run.run_id).steps() == [0, 1, 2]


def test_a_disk_that_cannot_be_read_for_a_while_does_not_end_sending(
    server: IngestServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    _logged(run, range(3))
    assert run.flush(_WAIT_S)
    session, sender = run._recorder._session, run._recorder._sender
    assert session
    assert sender

    def refuse() -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(session.files, "names", refuse)
        _logged(run, range(3, 5))
        assert waiting.until(lambda: "Too many open files" in sender.trouble or not sender.is_alive, timeout_s=_WAIT_S)

    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == list(range(5))


def test_sending_ends_when_the_folder_of_the_session_is_removed(
    server: IngestServer, spool: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=0.1)
    _logged(run, range(3))
    assert run.flush(_WAIT_S)
    session, sender = run._recorder._session, run._recorder._sender
    assert session
    assert sender

    shutil.rmtree(session.path)
    _logged(run, range(3, 4))

    assert waiting.until(lambda: not sender.is_alive, timeout_s=_WAIT_S)
    assert "sending has stopped" in caplog.text


class _Stubborn:
    """As a tensor on a device that has failed."""

    def _fail(self) -> Any:
        raise RuntimeError("device-side assert triggered")

    __float__ = __int__ = __str__ = __repr__ = _fail


def test_mistakes_do_not_raise_into_training_and_are_told_once(
    server: IngestServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        run.log({"ok": 1.0, "bad\x00key": 2.0, "text": "3", "stubborn": _Stubborn()})  # type: ignore[dict-item]
        run.log({"ok": 1.0}, step=1.5)  # type: ignore[arg-type]
        run.log({"ok": 1.0}, timestamp=-1)
        run.log([("ok", 1.0)])  # type: ignore[arg-type]
        run.log({"ok": 1.0}, step=_Stubborn())  # type: ignore[arg-type]
        run.log_params({"../x": 1})
        run.set_tags({"silent": _Stubborn()})

    assert run.flush(_WAIT_S)
    assert [key for key, _, _ in server.run(run.run_id).points] == ["ok"] * 3
    for mistake in (
        "bad\\x00key",
        "text'",
        "stubborn",
        "step 1.5",
        "step a _Stub",
        "timestamp -1",
        "are list",
        "../x",
        "silent",
    ):
        assert len([line for line in caplog.messages if mistake in line]) == 1, mistake


@pytest.mark.parametrize(
    ("metrics", "how", "error"),
    [
        ({"a*b": 1.0}, {}, ValueError),
        ({"x" * 251: 1.0}, {}, ValueError),
        ({"a/../b": 1.0}, {}, ValueError),
        ({1: 1.0}, {}, TypeError),
        ({"m": "1"}, {}, TypeError),
        ({"m": object()}, {}, TypeError),
        ({"m": np.zeros(0)}, {}, TypeError),
        ({"m": 1.0}, {"step": 2**63}, ValueError),
        ({"m": 1.0}, {"step": "3"}, TypeError),
        ({"m": 1.0}, {"timestamp": -1}, ValueError),
        ([("m", 1.0)], {}, TypeError),
    ],
)
def test_a_strict_run_raises_for_a_mistake(
    server: IngestServer, spool: Path, process: Process, metrics: Any, how: dict[str, Any], error: type[Exception]
) -> None:
    run = start_run(server.address, spool_dir=spool, strict=True)

    with pytest.raises(error):
        run.log(metrics, **how)


def test_numbers_of_other_kinds_are_logged_as_numbers(server: IngestServer, run: Run) -> None:
    run.log({"least": 1.0}, step=-(2**63))
    run.log({"m": np.float32(0.5), "i": 3, "b": True, "n": math.nan, "inf": math.inf}, step=np.int64(7))  # type: ignore[arg-type]

    assert run.flush(_WAIT_S)
    points = {key: (step, value) for key, step, value in server.run(run.run_id).points}
    assert points["least"] == (-(2**63), 1.0)
    assert points["m"] == (7, 0.5)
    assert points["i"] == (7, 3.0)
    assert points["b"] == (7, 1.0)
    assert math.isnan(points["n"][1])
    assert math.isinf(points["inf"][1])


def test_threads_log_to_one_run(server: IngestServer, run: Run) -> None:
    def work(offset: int) -> None:
        for step in range(500):
            run.log({f"m{offset}": 1.0}, step=step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert run.flush(_WAIT_S)
    for number in range(4):
        assert server.run(run.run_id).steps(f"m{number}") == list(range(500))


def test_a_run_that_was_pickled_logs_to_the_same_run(server: IngestServer, run: Run) -> None:
    other = pickle.loads(pickle.dumps(run))
    other.log({"m": 1.0}, step=1)

    assert other.run_id == run.run_id
    assert other.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == [1]


def test_many_metrics_are_split_into_batches_that_the_server_takes(server: IngestServer, run: Run) -> None:
    run.log({f"metric {number}": float(number) for number in range(2500)})

    assert run.flush(_WAIT_S)
    assert len(server.run(run.run_id).points) == 2500
    assert all(len(batch.points.keys) <= 1000 for batch in server.batches)


def test_an_exception_ends_the_run_as_failed(server: IngestServer, spool: Path, process: Process) -> None:
    with pytest.raises(ZeroDivisionError), start_run(server.address, spool_dir=spool) as run:
        raise ZeroDivisionError

    assert run.flush(_WAIT_S)
    end = server.run(run.run_id).end
    assert end is not None
    assert end.status == pb.EndRun.FAILED


def test_a_process_that_ends_sends_ends_its_runs_and_leaves_no_spool(
    server: IngestServer, run: Run, spool: Path, process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    _logged(run, range(10))

    process.finish("FINISHED")

    end = server.run(run.run_id).end
    assert end is not None
    assert end.status == pb.EndRun.FINISHED
    assert sessions.find(spool) == []
    assert "not sent" not in capsys.readouterr().err


def test_who_logs_to_a_run_of_another_process_makes_it_if_he_is_first(
    server: IngestServer, spool: Path, process: Process
) -> None:
    # Who is awake is not woken: the parent has recorded nothing yet when it forks.
    process.recorder(settings.load(address=server.address, spool_dir=spool)).is_awake = True
    run = start_run(server.address, spool_dir=spool, experiment="e")
    # As in a forked process: nothing of what the parent has recorded, and all that it knew.
    abandoned = run._recorder.after_fork_in_child()
    assert abandoned is None

    for step in range(2):
        run.log({"m": 1.0}, step=step)
        assert run.flush(_WAIT_S)

    starts = [batch.start for batch in server.batches if batch.HasField("start")]
    assert [(start.experiment_name, start.takes_no_part) for start in starts] == [("e", True)]
    assert server.run(run.run_id).steps() == [0, 1]


def test_the_generator_that_training_has_seeded_is_left_as_it_is(
    server: IngestServer, spool: Path, process: Process
) -> None:
    server.stop()
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=0.1)
    random.seed(7)
    before = random.getstate()

    _logged(run, range(10))

    # A failure is told of before the pause after it is chosen, so the second one shows that there was a pause.
    recorder = run._recorder
    assert waiting.until(lambda: recorder._sender is not None and recorder._sender._failures >= 2, timeout_s=_WAIT_S)
    assert random.getstate() == before


def test_a_process_that_ends_without_a_server_says_where_what_is_not_sent_is(
    server: IngestServer, spool: Path, process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=0.3)
    _logged(run, range(10))
    run.end()
    assert run.flush(_WAIT_S, acknowledged=False)

    process.finish("FINISHED")

    told = capsys.readouterr().err.splitlines()
    # How it begins, its points and how it ends are at least one each.
    assert _on_disk(run) >= 3
    assert f" {_on_disk(run)} batches are not sent yet" in told[-2]
    assert told[-1] == f"modelstead: To send them: modelstead sync {spool}"


def test_logging_never_waits_for_a_disk(
    server: IngestServer, run: Run, monkeypatch: pytest.MonkeyPatch, process: Process
) -> None:
    _logged(run, range(1))
    assert run.flush(_WAIT_S)
    recorder = run._recorder
    stuck, began = threading.Event(), threading.Event()
    append = recorder._writer.append  # type: ignore[union-attr]

    def hang(payload: bytes, *, points: int = 0) -> int:
        began.set()
        stuck.wait()
        return append(payload, points=points)

    monkeypatch.setattr(recorder._writer, "append", hang)
    try:
        # Each of these would wait for ever if it waited for the disk.
        _logged(run, range(1, 500))
        assert began.wait(_WAIT_S)
        _logged(run, range(500, 1000))
        run.log_params({"p": 1})
        run.end()
    finally:
        stuck.set()
    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == list(range(1000))


def test_that_no_folder_can_have_a_spool_is_told_once_of_each(
    server: IngestServer,
    tmp_path: Path,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("modelstead.runs.recorder.fallback_spool_dir", lambda: tmp_path / "file" / "fallback")
    monkeypatch.setattr("modelstead.runs.recorder.RETRY_S", 0.0)
    run = start_run(server.address, spool_dir=tmp_path / "file" / "spool", exit_timeout_s=0.1)

    for step in range(5):
        run.log({"m": 1.0}, step=step)
        assert not run.flush(_WAIT_S)

    told = [line for line in caplog.messages if "no spool can be made" in line]
    assert [folder in line for folder, line in zip(("spool", "fallback"), told, strict=True)] == [True, True]


def test_who_sleeps_wakes_to_make_durable_what_was_logged_before(
    server: IngestServer, spool: Path, process: Process
) -> None:
    run = start_run(server.address, spool_dir=spool, fsync_interval_s=5.0)
    assert run.flush(_WAIT_S)
    recorder = run._recorder
    writer = recorder._writer
    assert writer is not None

    recorder._synced = time.monotonic()
    run.log({"m": 1.0}, step=1)

    assert waiting.until(lambda: bool(not recorder.buffer and not recorder.is_awake), timeout_s=_WAIT_S)
    slept_at = writer.synced_sequence
    assert waiting.until(lambda: writer.synced_sequence == writer.last_sequence, timeout_s=_WAIT_S)
    assert slept_at < writer.last_sequence
    assert not recorder.is_awake


def test_only_points_wait_for_the_interval_until_they_are_durable(
    server: IngestServer, spool: Path, process: Process
) -> None:
    run = start_run(server.address, spool_dir=spool, fsync_interval_s=3600)
    assert run.flush(_WAIT_S)
    writer = run._recorder._writer
    assert writer
    found = [writer.last_sequence - writer.synced_sequence]
    calls: list[Callable[[], None]] = [
        lambda: run.log({"m": 1.0}),
        lambda: run.log_params({"p": 1}),
        lambda: run.log({"m": 2.0}),
        run.end,
    ]
    for call in calls:
        call()
        assert run.flush(_WAIT_S)
        found.append(writer.last_sequence - writer.synced_sequence)

    assert found == [0, 1, 0, 1, 0]


def test_what_is_between_the_buffer_and_the_disk_is_unsent(
    server: IngestServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.flush(_WAIT_S)
    recorder = run._recorder
    is_let_on = threading.Event()
    opened = recorder._open

    def hold() -> Writer | None:
        assert is_let_on.wait(_WAIT_S)
        return opened()

    monkeypatch.setattr(recorder, "_open", hold)
    try:
        run.log({"m": 1.0})
        assert waiting.until(lambda: not recorder.buffer, timeout_s=_WAIT_S)

        assert recorder.has_unsent()
    finally:
        is_let_on.set()
    assert run.flush(_WAIT_S)
    assert not recorder.has_unsent()


def test_the_buffer_is_bounded_and_what_it_drops_is_counted(
    server: IngestServer, spool: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run(server.address, spool_dir=spool, buffer_points_max=10, flush_interval_s=5)
    _logged(run, range(1000))

    assert run.flush(_WAIT_S)
    stored = len(server.run(run.run_id).steps())
    assert stored < 1000
    assert run._recorder.dropped_points == 1000 - stored
    assert "points dropped" in caplog.text


def test_a_folder_that_cannot_be_made_is_replaced(
    server: IngestServer,
    tmp_path: Path,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = start_run(server.address, spool_dir=tmp_path / "file" / "spool")

    _logged(run, range(3))

    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == [0, 1, 2]
    assert "no spool can be made" in caplog.text


def test_nothing_can_be_logged_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELSTEAD_ADDRESS", raising=False)

    with pytest.raises(SettingsError, match="MODELSTEAD_ADDRESS"):
        start_run()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("modelstead://host:8080", "http://host:8080"),
        ("modelstead+tls://host/prefix/", "https://host/prefix"),
        ("host:8081", None),
    ],
)
def test_an_address_is_a_gateway_or_a_grpc_server(address: str, url: str | None) -> None:
    assert connection.gateway_url(address) == url


def test_a_gateway_that_talks_nonsense_is_one_that_does_not_say_where_tracking_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(65536)
                caller.sendall(b"nonsense\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        how = settings.load({}, address=f"modelstead://127.0.0.1:{listener.getsockname()[1]}")

        with pytest.raises(connection.DiscoveryError, match="nonsense"):
            connection.resolve(how)


def test_where_a_gateway_sends_its_callers_on_to_no_credentials_are_told() -> None:
    with Receiver() as gateway, Receiver() as elsewhere:
        there = elsewhere.url.replace("/hook", "/moved")
        gateway.answers = lambda _: Answer(status=302, headers={"Location": there, "Content-Length": "0"}, body=b"")
        elsewhere.answers = lambda _: Answer(body=b'{"tracking": "host:8081"}')
        how = settings.load({}, address=f"modelstead://127.0.0.1:{gateway.port}", token="secret")

        assert connection.resolve(how).address == "host:8081"

    assert [request.headers.get("authorization") for request in gateway.received] == ["Bearer secret"]
    assert [request.headers.get("authorization") for request in elsewhere.received] == [None]


def _sync(spool: Path) -> sync.Outcome:
    return sync.run(spool, address=None, progress=lambda *_: None)


def test_sync_sends_what_a_dead_process_left_and_a_second_one_writes_nothing(
    server: IngestServer, spool: Path, dead: Run
) -> None:
    server.start()

    first = _sync(spool)
    stored = server.stored_count
    second = _sync(spool)

    assert (first.sent, first.batches) == (1, _on_disk(dead))
    assert second == sync.Outcome()
    assert server.stored_count == stored
    assert server.run(dead.run_id).steps() == list(range(20))
    assert [opening.open.epoch for opening in server.openings] == [2]


def test_the_next_process_sends_what_a_dead_one_left(
    server: IngestServer, spool: Path, dead: Run, process: Process
) -> None:
    server.start()

    after = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S)
    after.log({"m": 1.0})

    assert waiting.until(lambda: server.run(dead.run_id).steps() == list(range(20)), timeout_s=_WAIT_S)
    assert waiting.until(lambda: len(sessions.find(spool)) == 1, timeout_s=_WAIT_S)


def test_sync_leaves_a_session_alone_whose_process_lives(server: IngestServer, run: Run, spool: Path) -> None:
    _logged(run, range(3))
    assert run.flush(_WAIT_S)

    outcome = _sync(spool)

    assert outcome == sync.Outcome(busy=1)


def test_sync_says_what_it_could_not_send(spool: Path, dead: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    senders: list[Sender] = []

    def make(*given: Any, **how: Any) -> Sender:
        senders.append(Sender(*given, **how))
        return senders[-1]

    def wait_for_trouble(*_: object) -> None:
        assert waiting.until(lambda: senders[0].trouble != "", timeout_s=_WAIT_S)

    monkeypatch.setattr(sync, "Sender", make)

    outcome = sync.run(spool, address=None, progress=wait_for_trouble, stuck_s=0.5)

    assert outcome.sent == 0
    [stuck] = outcome.stuck
    assert "UNAVAILABLE" in stuck


def test_policy_raise_raises_while_there_is_no_room(
    server: IngestServer, spool: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(server.address, spool_dir=spool, on_full="raise")
    assert run.flush(_WAIT_S)
    is_full = True
    append = run._recorder._writer.append  # type: ignore[union-attr]

    def refuse(payload: bytes, *, points: int = 0) -> int:
        if is_full:
            raise SpoolFull("simulated")
        return append(payload, points=points)

    monkeypatch.setattr(run._recorder._writer, "append", refuse)
    run.log({"m": 1.0}, step=0)
    assert run.flush(_WAIT_S, acknowledged=False)

    # A second later one is let through, to see whether there is room: it is refused by the disk.
    assert waiting.until(lambda: not _is_logged(run, 1), timeout_s=_WAIT_S)
    assert run.flush(_WAIT_S, acknowledged=False)
    is_full = False
    assert waiting.until(lambda: _is_logged(run, 2), timeout_s=_WAIT_S)
    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == [2]


def test_a_disk_that_the_spool_itself_has_filled_heals(
    server: IngestServer, spool: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    run = start_run(server.address, spool_dir=spool, on_full="drop_newest", spool_bytes_max=SPOOL_BYTES_MIN)
    for start in (0, 4000):
        _logged(run, range(start, start + 4000))
        assert run.flush(_WAIT_S, acknowledged=False)
    session = run._recorder._session
    assert session
    save = session.save_acknowledged

    def save_where_there_is_room(sequence: int) -> None:
        if len(segment_names(session.files, POINTS)) > 1:
            raise OSError(errno.ENOSPC, "simulated")
        save(sequence)

    monkeypatch.setattr(session, "save_acknowledged", save_where_there_is_room)
    assert len(segment_names(session.files, POINTS)) > 1
    server.start()

    assert waiting.until(lambda: len(segment_names(session.files, POINTS)) == 1, timeout_s=_WAIT_S)
    assert run.flush(_WAIT_S)
    assert server.run(run.run_id).steps() == list(range(8000))


def _is_logged(run: Run, step: int) -> bool:
    try:
        run.log({"m": 1.0}, step=step)
    except SpoolFull:
        return False
    return True


def test_logging_is_quiet_when_nothing_is_wrong(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    _logged(run, range(10))
    assert run.flush(_WAIT_S)

    told = [record for record in caplog.records if record.name == "modelstead"]
    assert [record for record in told if record.levelno >= logging.WARNING] == []
