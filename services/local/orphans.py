"""Processes that an earlier launcher left behind on a data folder: found by what proves whose they are, and ended.

On Linux only: elsewhere nothing is found, and Postgres' own lock file and the ports in use tell of them.
All of this is only for who holds the lock of the folder.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from services.local import process, waiting
from services.local.errors import LocalError

_PROC = Path("/proc")
_STOP_TIMEOUT_S = 20.0
_KILL_TIMEOUT_S = 5.0


def end_children(data_dir: Path, *, pause: waiting.Pause = time.sleep) -> None:
    """End every process that was started for `data_dir`, Postgres aside. Raises LocalError if one survives."""
    for pid in find_children(data_dir):
        _send(pid, signal.SIGTERM)
    _await_end(lambda: find_children(data_dir), data_dir, pause)


def end_postgres(data_dir: Path, *, pause: waiting.Pause = time.sleep) -> None:
    """Shut down a Postgres that runs on `data_dir` and clear its lock file. Raises LocalError if it survives."""
    if not _PROC.is_dir():
        return
    lock_file = data_dir / "postgres" / "postmaster.pid"
    server = _first_number(lock_file)
    # Its other processes follow the server; those of a server that was killed find out by themselves.
    if server in find_postgres(data_dir):
        _send(server, signal.SIGINT)
    _await_end(lambda: find_postgres(data_dir), data_dir, pause)
    # Postgres takes any living process with the number in this file, such as after a reboot, for its predecessor.
    lock_file.unlink(missing_ok=True)


def find_children(data_dir: Path) -> list[int]:
    """Return the ids of the processes with our mark for `data_dir` in their environment, Postgres aside."""
    mark = os.fsencode(f"{process.LAUNCHED_FOR}={data_dir}")
    return _find(lambda proc: not _is_postgres(proc) and mark in (proc / "environ").read_bytes().split(b"\0"))


def find_postgres(data_dir: Path) -> list[int]:
    """Return the ids of the Postgres processes that work inside `data_dir`. They overwrite their environment."""
    return _find(lambda proc: _is_postgres(proc) and (proc / "cwd").readlink().parent == data_dir)


def _find(matches: Callable[[Path], bool]) -> list[int]:
    if not _PROC.is_dir():
        return []
    found = []
    for proc in _PROC.iterdir():
        # One may end meanwhile, or belong to someone else and therefore not be ours.
        with suppress(OSError):
            if proc.name.isdecimal() and int(proc.name) != os.getpid() and matches(proc):
                found.append(int(proc.name))
    return found


def _is_postgres(proc: Path) -> bool:
    return (proc / "comm").read_bytes() == b"postgres\n"


def _await_end(find: Callable[[], list[int]], data_dir: Path, pause: waiting.Pause) -> None:
    if waiting.until(lambda: not find(), timeout_s=_STOP_TIMEOUT_S, pause=pause):
        return
    for pid in find():
        _send(pid, signal.SIGKILL)
    if not waiting.until(lambda: not find(), timeout_s=_KILL_TIMEOUT_S, pause=pause):
        pids = ", ".join(map(str, find()))
        raise LocalError(f"Process {pids} still works on {data_dir} and cannot be ended: end it, then start again.")


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _first_number(file: Path) -> int:
    """Return the process id in Postgres' lock file, 0 without one."""
    try:
        return int(file.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
