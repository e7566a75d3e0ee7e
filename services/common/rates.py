"""Counts what happens, and tells how much of it came lately."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 10


class Rate:
    """A count since the beginning, and its growth a second over the last ten, or a part of a second less.

    `clock_s` never goes back.
    """

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._seconds: deque[tuple[int, int]] = deque()
        self.total = 0

    def add(self, count: int) -> None:
        """Count so many more, now."""
        self.total += count
        second = int(self._clock_s())
        if self._seconds and self._seconds[-1][0] == second:
            count += self._seconds.pop()[1]
        self._seconds.append((second, count))
        self._forget(second)

    @property
    def per_second(self) -> float:
        """How many came a second, of late."""
        now_s = self._clock_s()
        second = int(now_s)
        self._forget(second)
        # Of the last second, so much is over.
        return sum(count for _, count in self._seconds) / (WINDOW_S - 1 + (now_s - second))

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_S:
            self._seconds.popleft()
