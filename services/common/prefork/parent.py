"""The parent of a service's workers: starts them, replaces the fallen, stops them together. Standard library only: it
is there for as long as they are, and what it imports is memory.

It waits for signals instead of handling them, so nothing interrupts it.
"""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

WRONG_SETTING = 2
# How long an empty place waits after each fall; one fall more and the parent gives up.
_BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
# Whoever has lived for so long has started, and its falls before are forgotten.
_STEADY_S = 30.0
_STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
AWAITED = _STOPS | {signal.SIGCHLD}

Say = Callable[..., None]
"""Writes a line at the level that is its first argument, with a message and fields."""


class Process(Protocol):
    """What of `subprocess.Popen` is used."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def terminate(self) -> None: ...


@dataclass(slots=True)
class _Post:
    """A worker's place: the process in it, how often it fell lately, and when the next one is due while it is empty."""

    number: int
    process: Process | None = None
    started: float = 0.0
    falls: int = 0
    due: float = 0.0


class Parent:
    """Keeps `count` workers running, each started by `start`. The signals of `AWAITED` are blocked in its thread."""

    def __init__(
        self, start: Callable[[int], Process], *, count: int, say: Say, backoff_s: Sequence[float] = _BACKOFF_S
    ) -> None:
        self._start = start
        self._backoff_s = backoff_s
        self._say = say
        self._posts = [_Post(number) for number in range(count)]

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, which workers get as SIGTERM, and return what to exit with: 0 if all ended well.

        Gives up, and stops all, when a worker falls again and again (1), or says that a setting is wrong (2).
        """
        for post in self._posts:
            self._fill(post)
        while True:
            if _await_signal(self._next_due_s()) in _STOPS:
                self._say("info", "stopping", workers=len(self._posts))
                return self._stop()
            for post in self._posts:
                if code := self._tend(post):
                    self._stop()
                    return code

    def _fill(self, post: _Post) -> None:
        post.process = self._start(post.number)
        post.started = time.monotonic()
        self._say("info", "worker started", worker=post.number, pid=post.process.pid)

    def _tend(self, post: _Post) -> int:
        """Replace a worker that has ended, at once or when it is due. Returns the code to give up with, or 0."""
        if post.process is None:
            if time.monotonic() >= post.due:
                self._fill(post)
            return 0
        code = post.process.poll()
        if code is None:
            return 0
        post.process = None
        return self._note_fall(post, code)

    def _note_fall(self, post: _Post, code: int) -> int:
        post.falls = 1 if time.monotonic() - post.started > _STEADY_S else post.falls + 1
        fell = {"worker": post.number, "reason": reason(code)}
        if code == WRONG_SETTING or post.falls > len(self._backoff_s):
            self._say("error", "worker ended; giving up", falls=post.falls, **fell)
            return WRONG_SETTING if code == WRONG_SETTING else 1
        delay_s = self._backoff_s[post.falls - 1]
        post.due = time.monotonic() + delay_s
        self._say("warning", "worker ended", again_in_s=delay_s, **fell)
        return 0

    def _next_due_s(self) -> float | None:
        dues = [post.due for post in self._posts if post.process is None]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _stop(self) -> int:
        """Have all end what is under way, and wait for that. Each has its own bound, and whoever is in a hurry kills
        the parent, with which they go.
        """
        processes: Sequence[Process] = [post.process for post in self._posts if post.process is not None]
        for process in processes:
            process.terminate()
        codes = [process.wait() for process in processes]
        self._say("info", "stopped", workers=len(codes))
        # Whoever was still starting was ended by the signal itself, and had nothing under way.
        return 0 if set(codes) <= {0, -signal.SIGTERM} else 1


def reason(code: int) -> str:
    """Say how a process ended, as in 'exit code 3' or 'SIGKILL'."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _await_signal(timeout_s: float | None) -> int | None:
    """Return the next signal of `AWAITED`, or None if none comes in time."""
    if timeout_s is None:
        return signal.sigwait(AWAITED)
    found = signal.sigtimedwait(AWAITED, timeout_s)
    return found.si_signo if found else None
