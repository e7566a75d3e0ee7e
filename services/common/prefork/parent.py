"""The parent of a service's workers: starts them, replaces the fallen, stops them together. Standard library only: it
is there for as long as they are, and what it imports is memory.

It waits for signals instead of handling them, so nothing interrupts it.
"""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.falls import BACKOFF_S, Falls, exit_reason, next_due_s

WRONG_SETTING = 2
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
    """A worker's place, and the process in it if it is not empty."""

    number: int
    falls: Falls
    process: Process | None = None


class Parent:
    """Keeps `count` workers running, each started by `start`. The signals of `AWAITED` are blocked in its thread."""

    def __init__(
        self, start: Callable[[int], Process], *, count: int, say: Say, backoff_s: Sequence[float] = BACKOFF_S
    ) -> None:
        self._start = start
        self._say = say
        self._posts = [_Post(number, Falls(backoff_s)) for number in range(count)]

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, which workers get as SIGTERM, and return what to exit with: 0 if all ended well.

        Gives up, and stops all, when a worker falls again and again (1), or says that a setting is wrong (2).
        """
        for post in self._posts:
            self._fill(post)
        while True:
            if _await_signal(next_due_s(post.falls for post in self._posts if post.process is None)) in _STOPS:
                self._say("info", "stopping", workers=len(self._posts))
                return self._stop()
            for post in self._posts:
                if code := self._tend(post):
                    self._stop()
                    return code

    def _fill(self, post: _Post) -> None:
        post.process = self._start(post.number)
        post.falls.note_start()
        self._say("info", "worker started", worker=post.number, pid=post.process.pid)

    def _tend(self, post: _Post) -> int:
        """Replace a worker that has ended, at once or when it is due. Returns the code to give up with, or 0."""
        if post.process is None:
            return self._refill(post) if post.falls.is_due else 0
        code = post.process.poll()
        if code is None:
            return 0
        post.process = None
        return self._note_fall(post, exit_reason(code), code=WRONG_SETTING if code == WRONG_SETTING else 1)

    def _refill(self, post: _Post) -> int:
        try:
            self._fill(post)
        except OSError as error:  # The machine has no room for a process just now; the other workers live on.
            return self._note_fall(post, str(error), code=1)
        return 0

    def _note_fall(self, post: _Post, why: str, *, code: int) -> int:
        """Empty a place for a while. Returns the code to give up with, or 0."""
        delay_s = post.falls.note()
        fell = {"worker": post.number, "reason": why}
        if code == WRONG_SETTING or post.falls.are_too_many:
            self._say("error", "worker ended; giving up", falls=post.falls.count, **fell)
            return code
        self._say("warning", "worker ended", again_in_s=delay_s, **fell)
        return 0

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


def _await_signal(timeout_s: float | None) -> int | None:
    """Return the next signal of `AWAITED`, or None if none comes in time."""
    if timeout_s is None:
        return signal.sigwait(AWAITED)
    found = signal.sigtimedwait(AWAITED, timeout_s)
    return found.si_signo if found else None
