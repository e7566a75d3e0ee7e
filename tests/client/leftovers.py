"""Sessions as processes that are gone leave them: `python -m tests.client.leftovers ADDRESS SPOOL` is a disk that is
full, and what `modelstead sync` makes of it.
"""

import contextlib
import socket
import sys
import uuid
from pathlib import Path

from modelstead.runs import batches, sync
from modelstead.spool import sessions
from modelstead.spool.sessions import Info
from modelstead.spool.writer import Limits, Writer
from modelstead.tracking.v1 import ingest_pb2 as pb

RUN_ID = "a" * 32
STEP = 7


def leave(
    folder: Path,
    *,
    address: str,
    key: str = "m",
    run_id: str = RUN_ID,
    sent_by: str | None = None,
    host: str = "",
    created_ms: int = 1,
    params: tuple[str, ...] = (),
) -> Path:
    """Write a session of one point, and of each parameter, as a process that is gone left it; return its folder."""
    info = Info(
        session_id=uuid.uuid4().hex,
        address=address,
        created_ms=created_ms,
        process_id=1,
        host=host or socket.gethostname(),
        sent_by=sent_by,
    )
    session = sessions.create(folder, info)
    session_id = bytes.fromhex(info.session_id)
    writer = Writer(session.files, session_id=session_id, epoch=1, limits=Limits(), acknowledged=lambda: 0)
    [batch] = batches.of([(run_id, STEP, 1000, (key,), (0.5,), "")])
    writer.append(batch.payload, points=batch.points)
    for name in params:
        writer.append(pb.Batch(run_id=run_id, params={name: "1"}).SerializeToString())
    session.close()
    return session.path


def make_unreadable(session: Path) -> None:
    """Let a session's description be one that nobody can read, not even root."""
    (session / "session.json").unlink()
    (session / "session.json").symlink_to("x" * 300)


def _main() -> None:
    address, spool = sys.argv[1], Path(sys.argv[2])
    old = leave(spool, address=address, key="old", created_ms=1)
    # As an earlier release wrote it: shorter than what is to take its place.
    (old / "state.json").write_text('{"epoch": 1, "acknowledged": 0}')
    leave(spool, address=address, key="new", created_ms=2)
    # A second time, as if the process of the first one had been killed.
    again = leave(spool, address=address, key="again", created_ms=3)
    with (spool / "filling").open("wb", buffering=0) as filling, contextlib.suppress(OSError):
        while True:
            filling.write(bytes(4096))
    [session] = [one for one in sessions.find(spool) if one.path == again]
    assert session.lock_sender()
    print(session.take_up()[0])
    session.close()
    outcome = sync.run(spool, address=None, progress=lambda *_: None)
    print(outcome.sent, outcome.batches, *outcome.stuck, sep="\n")
    (spool / "filling").unlink()
    print(sync.run(spool, address=None, progress=lambda *_: None).sent)


if __name__ == "__main__":
    _main()
