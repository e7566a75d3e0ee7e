"""The watches that are open at a server: how many there may be, and when they end."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator

from services.common.errors import ResourceExhausted, Unavailable

WATCHES_MAX = 8_000
WATCHES_PER_CALLER_MAX = 2_000
# Those who are sent away at once come back one after the other.
_SPREAD_S = 1.0
_RETRY_AFTER_S = 1.0


class OpenWatches:
    """Counts watches. Each ends with Unavailable, so that its caller resumes it elsewhere: after its time, give or take
    a tenth, or when all are ended.
    """

    def __init__(
        self,
        *,
        watches_max: int = WATCHES_MAX,
        per_caller_max: int = WATCHES_PER_CALLER_MAX,
        spread_s: float = _SPREAD_S,
    ) -> None:
        self._watches_max = watches_max
        self._per_caller_max = per_caller_max
        self._spread_s = spread_s
        self._of_caller: Counter[str] = Counter()
        self._timers: set[asyncio.Timeout] = set()
        self._are_ended = False

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._timers)

    @contextlib.asynccontextmanager
    async def admit(self, caller: str, *, age_s: float) -> AsyncIterator[None]:
        """Count a watch for the length of the block, and end it in time. Raises ResourceExhausted, Unavailable."""
        self._check(caller)
        self._of_caller[caller] += 1
        timer = asyncio.timeout(age_s * random.uniform(0.9, 1.1))  # noqa: S311 -- spreads load, keeps no secret
        try:
            async with timer:
                self._timers.add(timer)
                yield
        except TimeoutError:
            raise _ended() from None
        finally:
            self._timers.discard(timer)
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    def end(self) -> None:
        """End all watches, within a second, and take no more."""
        self._are_ended = True
        now = asyncio.get_running_loop().time()
        for timer in self._timers:
            if not timer.expired():
                timer.reschedule(now + self._spread_s * random.random())  # noqa: S311 -- as above

    def _check(self, caller: str) -> None:
        if self._are_ended:
            raise _ended()
        if len(self._timers) >= self._watches_max:
            raise _full(f"The server keeps {self._watches_max} watches open; try again.")
        if self._of_caller[caller] >= self._per_caller_max:
            raise _full(f"The server keeps {self._per_caller_max} watches of a caller open.")


def _ended() -> Unavailable:
    return Unavailable("This watch has ended; resume it.", retry_after_s=_RETRY_AFTER_S)


def _full(message: str) -> ResourceExhausted:
    return ResourceExhausted(message, retry_after_s=_RETRY_AFTER_S)
