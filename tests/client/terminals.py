"""The `modelstead` command in a terminal: a real process on a pseudo-terminal of some width."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

CLIENT = Path(__file__).parents[2] / "client"
TIMEOUT_S = 120
# Who runs tests in the background ignores Ctrl-C, and so would the command.
_CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from modelstead.cli import main
main()
"""
# Colours, movements of the cursor, and whether it is shown.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def environment(url: str) -> dict[str, str]:
    """An environment that says nothing of MLflow but where the platform is."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "COLUMNS", "LINES", "NO_COLOR"))
    }
    path = os.pathsep.join(filter(None, [str(CLIENT), os.environ.get("PYTHONPATH")]))
    return {**kept, "MLFLOW_TRACKING_URI": url, "TERM": "xterm-256color", "PYTHONPATH": path}


class Terminal:
    """A command that runs in a terminal; `text` is what it has printed until now, without colours."""

    def __init__(self, url: str, *arguments: str, width: int = 80, environ: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, width, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
            env={**environment(url), **(environ or {})}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._printed = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @property
    def raw(self) -> str:
        return self._printed.decode(errors="replace").replace("\r\n", "\n")

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self.raw)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]

    def until(self, pattern: str) -> str:
        """Read until the pattern is in what was printed, and return its match."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (match := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text[-4000:]}"
            assert self._read(), f"ended without {pattern!r}:\n{self.text[-4000:]}"
        return match.group()

    def read_now(self) -> None:
        """Read what has been printed by now."""
        while select.select([self._ours], [], [], 0)[0] and self._read():
            pass

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read until the command has ended, and return its exit code."""
        while self._read():
            pass
        return self.process.wait(TIMEOUT_S)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], TIMEOUT_S)[0]:
            raise AssertionError(f"silent for {TIMEOUT_S} s after:\n{self.text[-4000:]}")
        try:
            piece = os.read(self._ours, 65_536)
        except OSError:
            # Linux's way of saying that the other side is closed.
            return False
        self._printed += piece
        return bool(piece)


def shown(url: str, *arguments: str, width: int = 80) -> list[str]:
    """Run a command to its end, which must be a good one, and return the lines that a person sees."""
    with Terminal(url, *arguments, width=width) as terminal:
        code = terminal.end()
        assert code == 0, terminal.text
        return terminal.lines
