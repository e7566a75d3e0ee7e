"""What this process has stored lately: how many points, and of how many runs."""

import time
from collections.abc import Callable, Iterable

from services.common.rates import Rate
from services.tracking.run_logs.model import LogEntry

ACTIVE_S = 60.0
# The runs that logged least lately are forgotten when there are more.
RUNS_MAX = 100_000


class Meter:
    """Counts entries that are committed. `clock_s` never goes back."""

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        # By run, when it logged last; the latest are at the end.
        self._logged_s: dict[str, float] = {}
        self.points = Rate(clock_s=clock_s)

    def note(self, entries: Iterable[LogEntry]) -> None:
        """Count entries."""
        now_s = self._clock_s()
        for entry in entries:
            self.points.add(entry.point_count)
            self._logged_s.pop(entry.run_id, None)
            self._logged_s[entry.run_id] = now_s
        self._forget(now_s)

    @property
    def active_run_count(self) -> int:
        """Runs that logged in the last minute."""
        self._forget(self._clock_s())
        return len(self._logged_s)

    def _forget(self, now_s: float) -> None:
        while self._logged_s:
            oldest = next(iter(self._logged_s))
            if self._logged_s[oldest] > now_s - ACTIVE_S and len(self._logged_s) <= RUNS_MAX:
                return
            del self._logged_s[oldest]
