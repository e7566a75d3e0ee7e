"""The supervisor, with small real programs as children."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.common.settings import Address
from services.local import orphans, ports, waiting
from services.local.errors import LocalError
from services.local.process import Child
from services.local.signals import Signals, StopRequested
from services.local.supervisor import Supervisor

MakeChild = Callable[..., Child]

WAIT = "import signal; print('waiting', flush=True); signal.pause()"
SERVE = (
    "import http.server as h; h.ThreadingHTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
)
NOTE_TERM = """
import pathlib, signal
def stop(*_):
    with pathlib.Path({notes!r}).open("a") as file: file.write({name!r} + "\\n")
    raise SystemExit
signal.signal(signal.SIGTERM, stop)
print("waiting", flush=True)
signal.pause()
"""
IGNORE_TERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"


class Told(list[str]):
    """Collects what was said."""

    def __contains__(self, text: object) -> bool:
        return any(str(text) in line for line in self)


@pytest.fixture
def told() -> Told:
    return Told()


def test_it_is_ready_when_the_condition_holds(make_child: MakeChild, signals: Signals, told: Told) -> None:
    address = Address("127.0.0.1", ports.choose("127.0.0.1"))
    server = make_child("server", SERVE.format(port=address.port))

    with _started([server], signals, told) as supervisor:
        supervisor.await_ready(lambda: ports.answers_ok(address, "/"))

        assert ports.answers_ok(address, "/nowhere") is False
    assert ports.answers_ok(address, "/") is False


def test_a_child_that_ends_while_starting_shows_its_log(make_child: MakeChild, signals: Signals, told: Told) -> None:
    children = [make_child("steady", WAIT), make_child("broken", "print('no such table'); raise SystemExit(3)")]

    with _started(children, signals, told) as supervisor, pytest.raises(LocalError) as raised:
        supervisor.await_ready(lambda: False)

    assert str(raised.value) == "broken ended (exit code 3) while starting. It last logged:\n  no such table"


def test_a_child_that_falls_later_is_replaced(make_child: MakeChild, signals: Signals, told: Told) -> None:
    child = make_child("child", WAIT)

    with _started([child], signals, told) as supervisor, _meanwhile(lambda: _kill_once_and_stop_when_back(child)):
        _watch(supervisor)

    assert "child ended (SIGKILL); its log is " in told
    assert "Starting child again in 0.5 s." in told


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (LocalError("the disk is full"), "the disk is full"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/data"),
            "child cannot be started: No space left on device.",
        ),
    ],
)
def test_preparation_that_fails_is_tried_again(
    make_child: MakeChild, signals: Signals, told: Told, failure: Exception, why: str
) -> None:
    failures = iter([None, failure, None])

    def prepare() -> None:
        if failure := next(failures):
            raise failure

    child = make_child("child", WAIT, prepare=prepare)

    with _started([child], signals, told) as supervisor, _meanwhile(lambda: _kill_once_and_stop_when_back(child)):
        _watch(supervisor)

    assert f"{why}\nStarting child again in 1 s." in told


def test_a_first_start_that_fails_is_told_in_a_sentence(make_child: MakeChild, signals: Signals, told: Told) -> None:
    child = make_child("child", WAIT)
    child.log.parent.parent.mkdir()
    child.log.parent.write_text("where a folder should be")

    with pytest.raises(LocalError, match=r"^child cannot be started: File exists\.$"), _started([child], signals, told):
        pass


def test_logs_stay_short_while_it_watches(
    make_child: MakeChild, signals: Signals, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.local.process._LOG_BYTES_MAX", 10_000)
    monkeypatch.setattr("services.local.supervisor._LOGS_EVERY_S", 0.01)
    child = make_child("child", f"print('x' * 20_000); {WAIT}")

    def stop_when_short() -> None:
        assert waiting.until(lambda: child.log.with_name("child.log.1").exists(), timeout_s=60)
        assert waiting.until(lambda: child.log.stat().st_size <= 10_000, timeout_s=60)
        _send(signal.SIGTERM)

    with _started([child], signals, told) as supervisor, _meanwhile(stop_when_short):
        _watch(supervisor)


def test_children_are_stopped_in_reverse(make_child: MakeChild, signals: Signals, told: Told, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    children = [make_child(name, NOTE_TERM.format(notes=str(notes), name=name)) for name in ("a", "b", "c")]

    with _started(children, signals, told):
        assert waiting.until(lambda: all(_count(child, "waiting") for child in children), timeout_s=60)

    assert notes.read_text().split() == ["c", "b", "a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_ends_the_watch(
    make_child: MakeChild, signals: Signals, told: Told, data_path: Path, number: signal.Signals
) -> None:
    with _started([make_child("child", WAIT)], signals, told) as supervisor, _meanwhile(lambda: _send(number)):
        _watch(supervisor)

    assert orphans.find_children(data_path) == []


def test_a_request_to_stop_ends_the_wait_for_readiness(make_child: MakeChild, signals: Signals, told: Told) -> None:
    child = make_child("child", WAIT)

    with (
        _started([child], signals, told) as supervisor,
        _meanwhile(lambda: _send(signal.SIGINT)),
        pytest.raises(StopRequested),
    ):
        supervisor.await_ready(lambda: False)


def test_a_second_request_to_stop_hurries(make_child: MakeChild, signals: Signals, told: Told) -> None:
    child = make_child("stuck", IGNORE_TERM, stop_timeout_s=120.0)

    with _started([child], signals, told):
        assert waiting.until(lambda: _count(child, "waiting") > 0, timeout_s=60)
        signals.stop_requests = 1
        second = threading.Timer(0.5, _send, [signal.SIGINT])
        second.start()

    second.join()
    assert "stuck has not stopped yet: ending it." in told


def test_one_request_that_is_delivered_twice_does_not_hurry(signals: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    # However long this process is kept waiting in between.
    monkeypatch.setattr("services.local.signals.time", SimpleNamespace(monotonic=lambda: 1000.0))

    _send(signal.SIGTERM)
    _send(signal.SIGINT)

    assert signals.stop_requests == 1


@contextmanager
def _started(children: list[Child], signals: Signals, told: Told) -> Iterator[Supervisor]:
    supervisor = Supervisor(children, signals=signals, say=told.append)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def _watch(supervisor: Supervisor) -> None:
    with pytest.raises(StopRequested):
        supervisor.watch()


@contextmanager
def _meanwhile(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def _kill_once_and_stop_when_back(child: Child) -> None:
    folder = Path(child.env["MODELSTEAD_LAUNCHED_FOR"])
    assert waiting.until(lambda: _count(child, "waiting") == 1, timeout_s=60)
    for pid in orphans.find_children(folder):
        os.kill(pid, signal.SIGKILL)
    assert waiting.until(lambda: _count(child, "waiting") == 2, timeout_s=60)
    _send(signal.SIGTERM)


def _send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def _count(child: Child, text: str) -> int:
    return child.log.read_text().count(text) if child.log.exists() else 0
