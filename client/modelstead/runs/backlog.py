"""How much of a session waits to be sent, and for how long: about, and in bounded memory however long that is."""

import threading
from collections import deque
from dataclasses import dataclass

from modelstead.tracking.v1 import ingest_pb2 as pb

_TOLD_EVERY_S = 1.0
# What was spooled within so many seconds is one entry; when there are too many, within twice as many.
_PERIOD_S = 1.0
_ENTRIES_MAX = 4096


@dataclass(slots=True)
class _Entry:
    """The batches up to a sequence, since the entry before."""

    last: int
    count: int
    points: int
    added_s: float


class Backlog:
    """One thread adds, another one asks. Times are those of a monotonic clock, in seconds. `newest_sequence` is that of
    the batch that was spooled last.
    """

    def __init__(self) -> None:
        self.newest_sequence = 0
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque()
        self._period_s = _PERIOD_S
        self._told_s = float("-inf")
        self._told_points = 0

    def add(self, sequence: int, points: int, *, now_s: float) -> None:
        """Note a batch that was spooled."""
        with self._lock:
            self.newest_sequence = sequence
            newest = self._entries[-1] if self._entries else None
            if newest is not None and now_s < newest.added_s + self._period_s:
                newest.last = sequence
                newest.count += 1
                newest.points += points
                return
            self._entries.append(_Entry(sequence, 1, points, now_s))
            if len(self._entries) > _ENTRIES_MAX:
                self._halve()

    def after(self, sequence: int, *, now_s: float) -> tuple[int, float]:
        """Return about how many points come after a sequence, and for how long the oldest of them have waited; what is
        before it is forgotten.
        """
        with self._lock:
            while self._entries and self._entries[0].last <= sequence:
                self._entries.popleft()
            if not self._entries:
                return 0, 0.0
            oldest = self._entries[0]
            # Of the oldest, as large a part of the points as of the batches.
            left = min(oldest.last - sequence, oldest.count)
            gone = oldest.points * (oldest.count - left) // oldest.count
            return sum(entry.points for entry in self._entries) - gone, max(0.0, now_s - oldest.added_s)

    def news_after(self, sequence: int, *, now_s: float) -> pb.Backlog | None:
        """Return the same for the server, if it is time to tell it again: now and then, and once more when nothing
        waits.
        """
        points, age_s = self.after(sequence, now_s=now_s)
        if now_s < self._told_s + _TOLD_EVERY_S and not (self._told_points and not points):
            return None
        self._told_s, self._told_points = now_s, points
        told = pb.Backlog(point_count=points)
        told.age.FromMilliseconds(int(age_s * 1000))
        return told

    def _halve(self) -> None:
        entries = list(self._entries)
        self._period_s *= 2
        self._entries = deque()
        for first, second in zip(entries[::2], entries[1::2], strict=False):
            merged = _Entry(second.last, first.count + second.count, first.points + second.points, first.added_s)
            self._entries.append(merged)
        if len(entries) % 2:
            self._entries.append(entries[-1])
