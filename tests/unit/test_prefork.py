"""The parent of workers: what it does when they fall, when it is stopped, and what each of them is told."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from services.common import settings
from services.common.prefork import launch
from services.common.settings import Address
from services.tracking.settings import Settings

BACKOFFS = 3
# A worker is a program of its own, and so is the parent: it waits for signals.
PARENT = f"""
import errno, os, signal, subprocess, sys
from services.common.prefork.parent import AWAITED, Parent

mask = signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
unblock = lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask)
worker, no_room = sys.argv[1], [int(start) for start in sys.argv[2:]]
starts = 0

def start(number):
    global starts
    starts += 1
    if starts in no_room:
        raise BlockingIOError(errno.EAGAIN, "no room for a process")
    return subprocess.Popen([sys.executable, "-c", worker, str(number), str(starts)], preexec_fn=unblock)

say = lambda level, message, **fields: os.write(1, f"{{message}} {{fields}}\\n".encode())
sys.exit(Parent(start, count=2, say=say, backoff_s=(0.01,) * {BACKOFFS}).run())
"""
# Says that it is there, and ends with a code when it is told to stop. It waits for the signal, which else could come
# just before a pause that nothing ends.
LIVING = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.write(1, b"alive\\n")
signal.sigwait([signal.SIGTERM])
sys.exit({code})
"""
WAIT_S = 60


def _parent(worker: str, *, no_room: Sequence[int] = ()) -> subprocess.Popen[str]:
    """Run a parent of two workers; `no_room` are the starts, of all, for which the machine has none."""
    command = [sys.executable, "-c", PARENT, worker, *map(str, no_room)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_gives_up_when_a_worker_falls_again_and_again_and_stops_the_others() -> None:
    first_falls = f"import sys\nif sys.argv[1] == '0': sys.exit(3)\n{LIVING.format(code=0)}"
    with _parent(first_falls) as parent:
        said, _ = parent.communicate(timeout=WAIT_S)

    assert parent.returncode == 1
    assert said.count("worker started {'worker': 0") == BACKOFFS + 1
    assert said.count("worker started {'worker': 1") == 1
    assert said.count("'reason': 'exit code 3'") == BACKOFFS + 1


def test_a_machine_without_room_for_a_process_is_asked_again_and_the_other_worker_stays() -> None:
    first_falls_once = f"import sys\nif sys.argv[1:] == ['0', '1']: sys.exit(3)\n{LIVING.format(code=0)}"
    with _parent(first_falls_once, no_room=[3]) as parent:
        assert parent.stdout is not None
        said = []
        for line in parent.stdout:
            said.append(line)
            if said.count("alive\n") == 2:
                break
        parent.send_signal(signal.SIGTERM)
        rest, _ = parent.communicate(timeout=WAIT_S)

    assert parent.returncode == 0
    told = "".join(said) + rest
    assert "no room for a process" in told
    assert told.count("worker started {'worker': 0") == 2
    assert told.count("worker started {'worker': 1") == 1


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
        said = iter(parent.stdout.readline, "")
        assert sum(1 for _, line in zip(range(4), said, strict=False) if line == "alive\n") == 2
        parent.send_signal(number)
        parent.communicate(timeout=WAIT_S)

    assert parent.returncode == expected


def test_workers_have_their_part_of_what_a_service_has_once() -> None:
    environ = {
        "MODELSTEAD_DATABASE_URL": "postgresql://localhost/db",
        "MODELSTEAD_PAGE_TOKEN_KEY": "k" * 32,
        "MODELSTEAD_WORKERS": "4",
        "MODELSTEAD_MIGRATE_ON_START": "true",
        "MODELSTEAD_METRICS_LISTEN": "127.0.0.1:9464",
        "MODELSTEAD_DATABASE_CONNECTIONS": "40",
    }
    whole = settings.load(Settings, environ)

    parts = [settings.load(Settings, environ | launch.variables_of(whole, number)) for number in range(4)]

    assert launch.becomes_parent(whole)
    assert not any(launch.becomes_parent(part) for part in parts)
    assert {part.database_connections for part in parts} == {10}
    assert {part.ingest_memory_bytes for part in parts} == {whole.ingest_memory_bytes // 4}
    assert [part.metrics_listen for part in parts] == [Address("127.0.0.1", 9464 + number) for number in range(4)]
    assert not any(part.migrate_on_start for part in parts)


def test_no_worker_has_fewer_connections_than_it_can_work_with() -> None:
    environ = {"MODELSTEAD_DATABASE_URL": "postgresql://localhost/db", "MODELSTEAD_PAGE_TOKEN_KEY": "k" * 32}
    whole = settings.load(Settings, environ | {"MODELSTEAD_WORKERS": "12"})

    assert launch.variables_of(whole, 0)["MODELSTEAD_DATABASE_CONNECTIONS"] == "4"
