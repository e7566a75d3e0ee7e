"""When a sender sends what comes again and again: together. A burst takes this process, the network and the server not
much more than a single batch does.
"""

from modelstead.runs.backlog import Backlog


class Bursts:
    """What is spooled after a pause goes at once; what follows waits until `interval_s` after that, unless somebody
    waits for it. Times are those of a monotonic clock, in seconds.

    `backlog` is that of the writer. Without one, as of another process, it is looked so often for what is there.
    """

    def __init__(self, backlog: Backlog | None, *, interval_s: float) -> None:
        self._backlog = backlog
        self._interval_s = interval_s
        # The newest batch that goes at once, also if it goes again, and when the next burst may begin.
        self._last = 0
        self._due = float("-inf")

    def hurry(self, sequence: int) -> None:
        """Let nothing up to a batch wait."""
        self._last = max(self._last, sequence)

    def hurry_all(self) -> None:
        """Let nothing wait that is there."""
        self._last, self._due = self._newest(self._last), float("-inf")

    def caught_up(self, now: float) -> None:
        """Note that there is nothing more to send."""
        if self._backlog is None:
            self._due = now + self._interval_s

    def sent(self, sequence: int, now: float) -> None:
        """Note that all up to a batch are sent. Beyond those that were to go at once, a burst begins with it, of all
        that there is.
        """
        if sequence > self._last and self._backlog is not None:
            self._last = max(sequence, self._newest(sequence))
            self._due = now + self._interval_s

    def wait_s(self, sent: int, now: float) -> float:
        """Return how long the batch after the one that was sent last, there or to come, is to wait."""
        return 0.0 if sent < self._last else max(0.0, self._due - now)

    def _newest(self, sent: int) -> int:
        return self._backlog.newest_sequence if self._backlog else sent
