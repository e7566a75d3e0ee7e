"""Keeps a list of children running: starts them together, replaces the fallen, stops them in reverse."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from services.common.falls import BACKOFF_S, Falls, exit_reason, next_due_s
from services.local.errors import LocalError
from services.local.process import Child, Process
from services.local.signals import Signals

# What is started may migrate first, for which `modelstead migrate` has an hour.
_READY_TIMEOUT_S = 3600.0
_PATIENCE_S = 15.0
_POLL_INTERVAL_S = 0.02
_LOGS_EVERY_S = 60.0
_BACKOFF_S = (*BACKOFF_S, 15.0)
_HURRY_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Post:
    """A child's place, and the process in it if it is not empty."""

    child: Child
    process: Process | None = None
    falls: Falls = field(default_factory=lambda: Falls(_BACKOFF_S))


class Supervisor:
    """Runs `children`, each of which may need those before it. They are expected to wait for what they need."""

    def __init__(self, children: Sequence[Child], *, signals: Signals, say: Callable[[str], None]) -> None:
        self._posts = [_Post(child) for child in children]
        self._signals = signals
        self._say = say

    def start(self) -> None:
        """Start all, last first: what needs preparation holds up nobody, for the others load meanwhile."""
        for post in reversed(self._posts):
            self._fill(post)

    def await_ready(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready`. Raises LocalError if a child ends before or it takes too long, StopRequested."""
        began = time.monotonic()
        patient = True
        while not ready():
            self._require_all_alive()
            elapsed_s = time.monotonic() - began
            if elapsed_s > _READY_TIMEOUT_S:
                raise LocalError(f"Not ready after {_READY_TIMEOUT_S:.0f} s. Last logged:\n{self._last_lines()}")
            if patient and elapsed_s > _PATIENCE_S:
                patient = False
                self._say(f"Still not ready. Last logged:\n{self._last_lines()}")
            self._signals.pause(_POLL_INTERVAL_S)

    def watch(self) -> NoReturn:
        """Replace children that end, with growing delays, and keep their logs short, until StopRequested is raised."""
        while True:
            for post in self._posts:
                self._tend(post)
            due_s = next_due_s(post.falls for post in self._posts if post.process is None)
            self._signals.pause(_LOGS_EVERY_S if due_s is None else min(due_s, _LOGS_EVERY_S))

    def stop(self) -> None:
        """Stop all, last first, each within its bound. A second request to stop hurries them."""
        for post in reversed(self._posts):
            if post.process is not None:
                self._stop(post.process)
                post.process = None

    def _fill(self, post: _Post) -> None:
        """Start a child. Raises LocalError, also for what the machine lacks: room on its disk, memory, processes."""
        try:
            if post.child.prepare is not None:
                post.child.prepare()
            post.process = Process(post.child)
        except OSError as error:
            raise LocalError(f"{post.child.name} cannot be started: {error.strerror or error}.") from error
        post.falls.note_start()

    def _require_all_alive(self) -> None:
        for post in self._posts:
            if post.process is not None and post.process.ended:
                raise LocalError(f"{_fall(post.process)} while starting. It last logged:\n{post.process.last_lines()}")

    def _tend(self, post: _Post) -> None:
        if post.process is not None and post.process.ended:
            self._note_fall(post, post.process)
        elif post.process is None and post.falls.is_due:
            try:
                self._fill(post)
            except LocalError as error:
                self._postpone(post, str(error))
        elif post.process is not None:
            # Who has removed a log, or has a full disk, has a platform all the same.
            with contextlib.suppress(OSError):
                post.process.trim_log()

    def _note_fall(self, post: _Post, process: Process) -> None:
        post.process = None
        self._postpone(post, f"{_fall(process)}; its log is {post.child.log}")

    def _postpone(self, post: _Post, why: str) -> None:
        delay_s = post.falls.note()
        self._say(f"{why}\nStarting {post.child.name} again in {delay_s:g} s.")

    def _stop(self, process: Process) -> None:
        deadline = time.monotonic() + process.child.stop_timeout_s
        process.send(process.child.stop_signal)
        while not process.ended and time.monotonic() < deadline and self._signals.stop_requests < 2:
            self._signals.wait(deadline - time.monotonic())
        if not process.ended:
            self._hurry(process)

    def _hurry(self, process: Process) -> None:
        self._say(f"{process.child.name} has not stopped yet: ending it.")
        process.send(process.child.hurry_signal)
        deadline = time.monotonic() + _HURRY_TIMEOUT_S
        while not process.ended and time.monotonic() < deadline:
            self._signals.wait(deadline - time.monotonic())
        process.kill()

    def _last_lines(self) -> str:
        return "\n".join(f"{post.child.name}:\n{post.process.last_lines()}" for post in self._posts if post.process)


def _fall(process: Process) -> str:
    code = process.exit_code
    assert code is not None
    return f"{process.child.name} ended ({exit_reason(code)})"
