"""What the server has refused is kept, as far as it fits, without reading again what was sent."""

import base64
import json
import os
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from modelstead.runs.outbox import Outbox
from modelstead.runs.process import Process
from modelstead.runs.refused import Refused
from modelstead.runs.run import start_run
from modelstead.spool import sessions
from modelstead.spool.reader import Reader
from modelstead.spool.sessions import Session
from modelstead.spool.writer import CONTROL, Limits, Writer, segment_names
from modelstead.tracking.v1 import ingest_pb2 as pb
from services.local import waiting
from tests.client import leftovers
from tests.client.server import IngestServer

_WAIT_S = 60.0


def _entries(spool: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in (spool / "rejected").iterdir() for line in file.read_text().splitlines()]


def _batch(entry: dict[str, Any]) -> pb.Batch:
    return pb.Batch.FromString(base64.b64decode(entry["batch"]))


def test_a_refused_batch_is_kept_as_it_was_sent_and_not_read_again(
    server: IngestServer, spool: Path, process: Process
) -> None:
    server.rejected_params = {"bad"}
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=0.1)
    assert run.flush(_WAIT_S)
    server.is_answering.clear()
    run.log_params({"bad": 1})
    assert run.flush(_WAIT_S, acknowledged=False)
    session, sender, writer = run._recorder._session, run._recorder._sender, run._recorder._writer
    assert session
    assert sender
    assert writer
    assert waiting.until(lambda: sender._outbox.sent_sequence == writer.last_sequence, timeout_s=_WAIT_S)
    for name in segment_names(session.files, CONTROL):
        os.truncate(session.path / name, 0)
    server.is_answering.set()

    assert run.flush(_WAIT_S)

    [entry] = _entries(spool)
    assert entry["run_id"] == run.run_id
    assert dict(_batch(entry).params) == {"bad": "1"}


def test_what_is_refused_is_kept_up_to_a_bound_for_its_user_alone_and_counted(
    server: IngestServer,
    spool: Path,
    process: Process,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("modelstead.spool.sessions.REJECTED_BYTES_MAX", 2000)
    server.rejected_params = {"bad"}
    run = start_run(server.address, spool_dir=spool, exit_timeout_s=_WAIT_S)
    for number in range(20):
        run.log_params({"bad": number})
        assert run.flush(_WAIT_S)

    run.end()
    process.finish("FINISHED")

    [file] = (spool / "rejected").iterdir()
    kept = [dict(_batch(entry).params) for entry in _entries(spool)]
    assert 0 < file.stat().st_size <= 2000
    assert kept == [{"bad": str(number)} for number in range(len(kept))]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    told = [line for line in caplog.messages if "counted, and not kept" in line]
    assert told[-1].startswith(f"{20 - len(kept)} of 20 batches that the server has refused")
    assert "no more than 2000 bytes are kept" in told[-1]
    assert str(file) in told[-1]
    assert len(told) <= 6


def test_nothing_is_left_of_an_entry_for_which_there_is_no_room(spool: Path) -> None:
    session = _left(spool, count=3)
    refused = Refused(session)
    _refuse(refused, 1)
    [file] = (spool / "rejected").iterdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    # Some of it is written, as on a disk that is about to be full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, hard))
    try:
        _refuse(refused, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _refuse(refused, 3)

    assert [entry["sequence"] for entry in _entries(spool)] == [1, 3]
    assert (refused.count, refused.lost_count) == (3, 1)


def test_what_another_process_has_sent_is_read_from_the_spool(spool: Path) -> None:
    session = _left(spool, count=300)
    refused = Refused(session)
    numbers = [1, 2, 100, 299, 400]

    _refuse(refused, *numbers)

    assert [entry["sequence"] for entry in _entries(spool)] == numbers
    assert [_batch(entry).run_id for entry in _entries(spool)] == [f"{number:032}" for number in numbers[:-1]] + [""]
    assert (refused.count, refused.lost_count) == (5, 0)


def test_of_what_is_under_way_each_batch_is_known_until_it_is_acknowledged(spool: Path) -> None:
    session = _left(spool, count=5)
    outbox = Outbox(Reader(session.files), acknowledged=0)
    outbox.open(acknowledged=0, window_bytes=1_000_000)
    for _ in range(4):
        outbox.next()

    outbox.acknowledge(2)

    under_way = [outbox.payload(number) for number in range(1, 6)]
    assert [one and pb.Batch.FromString(one).run_id for one in under_way] == [
        None,
        None,
        f"{3:032}",
        f"{4:032}",
        None,
    ]


def _refuse(refused: Refused, *numbers: int) -> None:
    """As if another process had sent these batches."""
    refused.keep([pb.Rejection(sequence=number, reason="R", message="m") for number in numbers], lambda sequence: None)


def _left(spool: Path, *, count: int) -> Session:
    """Return a session in which each batch is of the run that is called as its number."""
    leftovers.leave(spool, address="127.0.0.1:9")
    [session] = sessions.find(spool)
    for name in session.files.names():
        if name.endswith(".seg"):
            session.files.remove(name)
    session_id = bytes.fromhex(session.info.session_id)
    writer = Writer(session.files, session_id=session_id, epoch=1, limits=Limits(), acknowledged=lambda: 0)
    for number in range(1, count + 1):
        writer.append(pb.Batch(run_id=f"{number:032}").SerializeToString(), points=1)
    return session
