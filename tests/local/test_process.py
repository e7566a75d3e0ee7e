"""Children and their tether."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.local import orphans, process, waiting
from services.local.process import Child, Process

MakeChild = Callable[..., Child]

WAIT_FOREVER = "import signal; print('waiting', flush=True); signal.pause()"
IGNORE_TERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT_FOREVER}"


def test_a_child_gets_its_stop_signal_when_its_starter_is_killed(make_child: MakeChild, data_path: Path) -> None:
    child = make_child(
        "child",
        f"import os, signal; signal.signal(15, lambda *_: os._exit(os.write(1, b'told') - 4)); {WAIT_FOREVER}",
    )
    starter = _starter_of(child)
    assert waiting.until(lambda: _logged(child, "waiting"), timeout_s=60)

    starter.kill()
    starter.wait()

    assert waiting.until(lambda: _logged(child, "told"), timeout_s=60)
    assert waiting.until(lambda: not orphans.find_children(data_path), timeout_s=60)


def test_a_child_does_not_hear_the_terminals_ctrl_c(make_child: MakeChild) -> None:
    child = make_child("child", WAIT_FOREVER)
    running = Process(child)

    assert os.getpgid(running.pid) != os.getpgid(os.getpid())
    running.kill()


def test_a_child_that_ignores_its_stop_signal_is_killed(make_child: MakeChild) -> None:
    child = make_child("child", IGNORE_TERM, stop_timeout_s=0.2)
    running = Process(child)
    assert waiting.until(lambda: _logged(child, "waiting"), timeout_s=60)

    assert running.stop() is False

    assert running.exit_code == -signal.SIGKILL


def test_the_last_lines_are_those_of_this_run(make_child: MakeChild) -> None:
    for code in ("print('first')", "print('second')"):
        running = Process(make_child("child", code))
        assert waiting.until(lambda: running.ended, timeout_s=60)  # noqa: B023 - ends before the next is made

    assert running.last_lines() == "  second"


def test_a_log_that_has_grown_large_is_set_aside(make_child: MakeChild) -> None:
    child = make_child("child", "print('new')")
    child.log.parent.mkdir(parents=True)
    child.log.write_bytes(b"x" * (16 * 1024 * 1024 + 1))

    running = Process(child)

    assert waiting.until(lambda: running.ended, timeout_s=60)
    assert child.log.read_text() == "new\n"
    assert child.log.with_name("child.log.1").exists()


def test_a_log_that_grows_large_is_set_aside_while_its_child_goes_on(
    make_child: MakeChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_LOG_BYTES_MAX", 1000)
    child = make_child(
        "child",
        "import signal; told = {signal.SIGUSR1}; signal.pthread_sigmask(signal.SIG_BLOCK, told);"
        "print('x' * 2000, flush=True); signal.sigwait(told); print('after', flush=True); signal.pause()",
    )
    child.log.parent.mkdir(parents=True)
    child.log.write_text("of the run before\n")
    running = Process(child)
    assert waiting.until(lambda: child.log.stat().st_size > 2000, timeout_s=60)

    running.trim_log()
    running.trim_log()
    running.send(signal.SIGUSR1)

    assert waiting.until(lambda: _logged(child, "after"), timeout_s=60)
    assert child.log.read_bytes() == b"after\n"
    assert running.last_lines() == "  after"
    assert child.log.with_name("child.log.1").read_bytes() == b"x" * 999 + b"\n"
    running.kill()


def test_a_program_that_does_not_exist_is_named_in_its_log(make_child: MakeChild) -> None:
    child = make_child("child", "")
    running = Process(Child(name="child", argv=["/nowhere/program"], env=child.env, log=child.log))

    assert waiting.until(lambda: running.ended, timeout_s=60)
    assert running.exit_code == 1
    assert running.last_lines() == "  /nowhere/program cannot be run: No such file or directory."


def test_leftovers_are_ended_and_strangers_are_not(make_child: MakeChild, data_path: Path) -> None:
    ours = Process(make_child("ours", WAIT_FOREVER))
    other = make_child("other", WAIT_FOREVER)
    strangers = Process(
        Child(name="other", argv=other.argv, env={process.LAUNCHED_FOR: f"{data_path}-2"}, log=other.log)
    )
    assert waiting.until(lambda: _logged(ours.child, "waiting") and _logged(other, "waiting"), timeout_s=60)

    orphans.end_children(data_path)

    # What tells whose a process is goes a moment before the process does.
    assert waiting.until(lambda: ours.ended, timeout_s=60)
    assert ours.exit_code == -signal.SIGTERM
    assert not strangers.ended
    strangers.kill()


def _starter_of(child: Child) -> "subprocess.Popen[bytes]":
    code = "import pathlib, signal; from services.local.process import *; p = Process({}); signal.pause()"
    rebuilt = f"Child(name='child', argv={child.argv!r}, env={child.env!r}, log=pathlib.Path({str(child.log)!r}))"
    return subprocess.Popen([sys.executable, "-c", code.format(rebuilt)])


def _logged(child: Child, text: str) -> bool:
    return child.log.exists() and text in child.log.read_text()
