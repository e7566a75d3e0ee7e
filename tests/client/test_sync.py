"""`modelstead sync` sends what can be sent of what others have left, and says what cannot."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from modelstead.cli import application
from modelstead.spool import sessions
from tests.client import leftovers
from tests.client.server import IngestServer


def _sync(spool: Path, *options: str) -> Result:
    return CliRunner().invoke(application(), ["sync", str(spool), *options])


def _keys(server: IngestServer) -> list[str]:
    return [key for key, _, _ in server.run(leftovers.RUN_ID).points]


def _cannot_be_read(session: Path) -> str:
    leftovers.make_unreadable(session)
    return "File name too long"


def _cannot_be_locked(session: Path) -> str:
    (session / "writer.lock").unlink()
    (session / "writer.lock").mkdir()
    return "Is a directory"


def _has_a_state_that_cannot_be_read(session: Path) -> str:
    (session / "state.json").unlink(missing_ok=True)
    (session / "state.json").mkdir()
    return "Is a directory"


def _has_a_state_of_two_halves(session: Path) -> str:
    """As a loss of power may leave it, while it is overwritten."""
    (session / "state.json").write_text('{"epoch": 1, "acknowledged": 1, "check": 1}')
    return "it is damaged"


@pytest.mark.parametrize(
    "spoil", [_cannot_be_read, _cannot_be_locked, _has_a_state_that_cannot_be_read, _has_a_state_of_two_halves]
)
def test_a_session_that_cannot_be_sent_is_told_and_holds_up_no_other(
    server: IngestServer, spool: Path, spoil: Callable[[Path], str]
) -> None:
    leftovers.leave(spool, address=server.address, key="first", created_ms=1)
    spoiled = leftovers.leave(spool, address=server.address, key="spoiled", created_ms=2)
    leftovers.leave(spool, address=server.address, key="last", created_ms=3)
    why = spoil(spoiled)

    done = _sync(spool)

    assert _keys(server) == ["first", "last"]
    assert done.exit_code == 1
    [told] = [line for line in done.stderr.splitlines() if line.startswith("not sent: ")]
    assert str(spoiled) in told
    assert why in told
    assert "2 batches of 2 sessions sent" in done.stdout


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")

    done = _sync(tmp_path / "spool")

    assert done.exit_code == 1
    assert f"not sent: {tmp_path / 'spool'}: [Errno 20] Not a directory" in done.stderr


def test_what_is_no_session_is_not_told(server: IngestServer, spool: Path) -> None:
    leftovers.leave(spool, address=server.address)
    for name in ("lost+found", "rejected"):
        (spool / name).mkdir()
        (spool / name / "session.json").symlink_to("x" * 300)
    (spool / "file").write_text("")

    done = _sync(spool)

    assert (done.exit_code, done.stderr.strip()) == (0, "")
    assert sessions.find(spool) == []


def test_what_other_hosts_have_left_is_sent_only_if_that_is_asked_for(server: IngestServer, spool: Path) -> None:
    leftovers.leave(spool, address=server.address, key="here", created_ms=1)
    for number in range(7):
        leftovers.leave(spool, address=server.address, key="there", host=f"node{number}", created_ms=2 + number)

    done = _sync(spool)
    sent = _keys(server)
    asked = _sync(spool, "--other-hosts")

    assert sent == ["here"]
    assert done.exit_code == 1
    [told] = [line for line in done.stderr.splitlines() if line.startswith("not sent: ")]
    assert "7 sessions that were written on node0, node1, node2, node3, node4 and 2 more hosts" in told
    assert "--other-hosts" in told
    assert asked.exit_code == 0
    assert _keys(server) == ["here", *["there"] * 7]
    assert sessions.find(spool) == []


def test_a_live_session_of_another_host_is_known_to_live_where_locks_are_shared(
    server: IngestServer, spool: Path
) -> None:
    leftovers.leave(spool, address=server.address, host="node0")
    [live] = sessions.find(spool)
    assert live.lock_writer()

    done = _sync(spool)
    asked = _sync(spool, "--other-hosts")

    live.close()
    assert (done.exit_code, asked.exit_code) == (0, 0)
    assert "1 sessions are of live processes" in done.stdout
    assert _keys(server) == []


def test_help_tells_of_other_hosts() -> None:
    shown = CliRunner().invoke(application(), ["sync", "--help"]).stdout

    assert "--other-hosts" in shown


def test_what_is_refused_and_not_kept_is_told(
    server: IngestServer, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelstead.spool.sessions.REJECTED_BYTES_MAX", 300)
    server.rejected_params = {"a", "b", "c"}
    leftovers.leave(spool, address=server.address, params=("a", "b", "c"))

    done = _sync(spool)

    assert done.exit_code == 0
    assert f"3 batches were refused; they are in {spool / 'rejected'}, but for 2 that are not kept" in done.stdout
    assert len(list((spool / "rejected").iterdir())) == 1
