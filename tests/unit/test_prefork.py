"""The parent of workers: what it does when they fall, when it is stopped, and what each of them is told."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

BACKOFFS = 3
# A worker is a program of its own, and so is the parent: it waits for signals.
PARENT = f"""
import signal, subprocess, sys
from services.common.prefork.parent import AWAITED, Parent

mask = signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
unblock = lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask)
start = lambda number: subprocess.Popen([sys.executable, "-c", sys.argv[1], str(number)], preexec_fn=unblock)
say = lambda level, message, **fields: print(message, fields, flush=True)
sys.exit(Parent(start, count=2, say=say, backoff_s=(0.01,) * {BACKOFFS}).run())
"""
# Says that it is there, and ends with a code when it is told to stop.
LIVING = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
print("alive", flush=True)
while True: signal.pause()
"""
WAIT_S = 60


def _parent(worker: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PARENT, worker], stdout=subprocess.PIPE, text=True)


def test_gives_up_when_a_worker_falls_again_and_again_and_stops_the_others() -> None:
    first_falls = f"import sys\nif sys.argv[1] == '0': sys.exit(3)\n{LIVING.format(code=0)}"
    with _parent(first_falls) as parent:
        said, _ = parent.communicate(timeout=WAIT_S)

    assert parent.returncode == 1
    assert said.count("worker started {'worker': 0") == BACKOFFS + 1
    assert said.count("worker started {'worker': 1") == 1
    assert said.count("'reason': 'exit code 3'") == BACKOFFS + 1


def test_gives_up_at_once_when_a_setting_is_wrong() -> None:
    with _parent("import sys; sys.exit(2)") as parent:
        said, _ = parent.communicate(timeout=WAIT_S)

    assert parent.returncode == 2
    assert said.count("worker started") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("code", "expected"), [(0, 0), (5, 1)])
def test_a_stop_is_handed_on_and_ends_as_the_workers_do(number: signal.Signals, code: int, expected: int) -> None:
    with _parent(LIVING.format(code=code)) as parent:
        assert parent.stdout is not None
        alive = 0
        while alive < 2:
            alive += parent.stdout.readline() == "alive\n"
        parent.send_signal(number)
        parent.communicate(timeout=WAIT_S)

    assert parent.returncode == expected
