"""When a process that has ended is started again: later after each fall, until one has stood for a while. Standard
library only: parents are there for as long as their children, and what they import is memory.
"""

import signal
import time
from collections.abc import Iterable, Sequence

BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)
# Whoever has lived for so long has started, and its falls before are forgotten.
_STEADY_S = 30.0


class Falls:
    """How often what has one place fell lately, and when the place is filled again."""

    def __init__(self, backoff_s: Sequence[float] = BACKOFF_S) -> None:
        """`backoff_s` is how long the place stays empty after the first fall, the second one and so on."""
        self._backoff_s = backoff_s
        self._began: float | None = None
        self.count = 0
        self.due = 0.0

    def note_start(self) -> None:
        """The place is filled."""
        self._began = time.monotonic()

    def note(self) -> float:
        """It is empty, or could not be filled. Returns after how many seconds it is due."""
        if self._began is not None and time.monotonic() - self._began > _STEADY_S:
            self.count = 0
        self._began = None
        self.count += 1
        delay_s = self._backoff_s[min(self.count, len(self._backoff_s)) - 1]
        self.due = time.monotonic() + delay_s
        return delay_s

    @property
    def are_too_many(self) -> bool:
        """Whether it fell once more than there are delays."""
        return self.count > len(self._backoff_s)

    @property
    def is_due(self) -> bool:
        """Whether the place is to be filled now."""
        return time.monotonic() >= self.due


def next_due_s(empty: Iterable[Falls]) -> float | None:
    """Return in how many seconds the first of empty places is due; None if there is none."""
    dues = [falls.due for falls in empty]
    return max(0.0, min(dues) - time.monotonic()) if dues else None


def exit_reason(code: int) -> str:
    """Say how a process ended, as in 'exit code 3' or 'SIGKILL'."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
