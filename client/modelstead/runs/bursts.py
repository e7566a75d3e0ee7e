"""When a sender sends what comes again and again: together. A burst takes this process, the network and the server not
much more than a single batch does.
"""

from modelstead.runs.backlog import Backlog

EVERY_S = 0.25
# So many are a burst, however soon.
BATCHES = 16


class Bursts:
    """What is spooled after a pause goes at once; what follows waits until `EVERY_S` after that, unless somebody waits
    for it. Times are those of a monotonic clock, in seconds.

    `backlog` is that of the writer. Without one, as of another process, nothing waits.
    """

    def __init__(self, backlog: Backlog | None) -> None:
        self._backlog = backlog
        # The newest batch that goes at once, and when the next burst may begin.
        self._last = 0
        self._due = float("-inf")

    def hurry(self, sequence: int) -> None:
        """Let nothing up to a batch wait."""
        self._last = max(self._last, sequence)

    def wait_s(self, sent: int, now: float) -> float:
        """Return how long the batch after the one that was sent last is to wait. If it need not, a burst may begin."""
        newest = self._backlog.newest_sequence if self._backlog else sent
        if self._last <= sent < newest:
            if now < self._due and newest - sent < BATCHES:
                return self._due - now
            self._last, self._due = newest, now + EVERY_S
        return 0.0
