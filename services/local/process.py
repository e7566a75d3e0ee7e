"""Child processes: described as data, started tied to this process, with their output in a log file."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.local import tether, waiting

LAUNCHED_FOR = "MODELSTEAD_LAUNCHED_FOR"
"""Variable that every child carries: the data folder it works for. `orphans` knows our children by it."""

_LOG_BYTES_MAX = 16 * 1024 * 1024
_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program to run.

    `prepare` runs before each start and may take its time. `namespace_uid` hides the real user, see `tether`.
    A program that ignores `stop_signal` for `stop_timeout_s` is killed; one told to hurry gets `hurry_signal`.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    prepare: Callable[[], None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    stop_timeout_s: float = 20.0
    namespace_uid: int | None = None


class Process:
    """A started child."""

    def __init__(self, child: Child, *, stdin: str = "") -> None:
        """Start `child` with `stdin` as its whole input.

        The child gets its stop signal when the calling thread ends, so call from one that lives long enough.
        """
        _rotate(child.log)
        with child.log.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(  # noqa: S603 - the programs are ours
                _tethered(child),
                env=dict(child.env),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches every process of the terminal's group; children are stopped in order instead.
                start_new_session=True,
            )
        self.child = child
        self._feed(stdin)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._popen.poll()

    @property
    def ended(self) -> bool:
        return self.exit_code is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal. Does nothing when the process has ended."""
        self._popen.send_signal(number)

    def stop(self, *, pause: waiting.Pause = time.sleep) -> bool:
        """Stop it and wait until it is gone. Returns False if it had to be killed."""
        self.send(self.child.stop_signal)
        if waiting.until(lambda: self.ended, timeout_s=self.child.stop_timeout_s, pause=pause):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        self._popen.kill()
        self._popen.wait()

    def trim_log(self) -> None:
        """Set aside what it has logged if that is much. Lines that it writes at this very moment may be lost.

        A copy, as it has the file open; it goes on at the new end, for it appends.
        """
        log = self.child.log
        if log.stat().st_size > _LOG_BYTES_MAX:
            with log.open("rb") as written, _older(log).open("wb") as kept:
                written.seek(-_LOG_BYTES_MAX, os.SEEK_END)
                shutil.copyfileobj(written, kept)
            os.truncate(log, 0)
            self._log_start = 0

    def last_lines(self) -> str:
        """Return the last lines this run has logged, each indented by two spaces."""
        with self.child.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (nothing)"

    def _feed(self, text: str) -> None:
        assert self._popen.stdin is not None
        try:
            with self._popen.stdin as stdin:
                stdin.write(text.encode())
        except BrokenPipeError:
            # It ended before it read its input; its exit code says so.
            pass


def _tethered(child: Child) -> list[str]:
    uid = "-" if child.namespace_uid is None else str(child.namespace_uid)
    knot = [str(os.getpid()), str(int(child.stop_signal)), uid]
    return [sys.executable, "-I", "-S", tether.__file__, *knot, *child.argv]


def _rotate(log: Path) -> None:
    """Keep one older log file, so that logs do not fill the disk over the years."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_BYTES_MAX:
        log.replace(_older(log))


def _older(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
