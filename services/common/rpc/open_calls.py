"""The calls of a server that have no end of their own: how many there may be, for how long each may go on, and that
they end when the server does.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

from services.common.errors import DeadlineExceeded, ResourceExhausted, ServiceError, Unavailable

_RETRY_AFTER_S = 1.0


class OpenCalls:
    """Counts the calls of one kind, which `what` names in the plural, and keeps the timers by which they end."""

    def __init__(
        self,
        what: str,
        *,
        calls_max: int,
        per_caller_max: int,
        ended: str,
        retry_after_s: float = _RETRY_AFTER_S,
        spread_s: float = 0.0,
    ) -> None:
        """`ended` is what a caller is told at the end, and `retry_after_s` when it may come back. All calls are ended
        within `spread_s`, so that their callers do not all come back at once.
        """
        self._what = what
        self._calls_max = calls_max
        self._per_caller_max = per_caller_max
        self._ended = ended
        self._retry_after_s = retry_after_s
        self._spread_s = spread_s
        self._of_caller: Counter[str] = Counter()
        self._timers: set[asyncio.Timeout] = set()
        self._is_draining = False

    @property
    def count(self) -> int:
        """How many are open."""
        return self._of_caller.total()

    @contextlib.contextmanager
    def admit(self, caller: str) -> Iterator[None]:
        """Count a call for the length of the block. Raises ResourceExhausted, Unavailable."""
        self.check_open()
        if self.count >= self._calls_max:
            raise self._full("server", self._calls_max)
        if self._of_caller[caller] >= self._per_caller_max:
            raise self._full(f"caller {caller}", self._per_caller_max)
        self._of_caller[caller] += 1
        try:
            yield
        finally:
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]

    @contextlib.asynccontextmanager
    async def bounded(self, bound_s: float, *, late: Callable[[], ServiceError]) -> AsyncIterator[None]:
        """End the block with the error `late` when it has lasted so long, with Unavailable when all calls end."""
        self.check_open()
        timer = asyncio.timeout(bound_s)
        try:
            async with timer:
                self._timers.add(timer)
                yield
        except TimeoutError:
            if not timer.expired():
                raise
            self.check_open()
            raise late() from None
        finally:
            self._timers.discard(timer)

    async def arriving(self, bodies: AsyncIterator[bytes], *, wait_s: float) -> AsyncIterator[bytes]:
        """Yield what a caller sends until it has said all, or until all calls end.

        Raises DeadlineExceeded if nothing comes for `wait_s`.
        """
        while not self._is_draining:
            try:
                async with self.bounded(wait_s, late=lambda: DeadlineExceeded(f"No message came for {wait_s:.0f} s.")):
                    body = await anext(bodies, None)
            except Unavailable:
                return
            if body is None:
                return
            yield body

    def drain(self) -> None:
        """End what is waited for, and take no more."""
        self._is_draining = True
        now = asyncio.get_running_loop().time()
        for timer in self._timers:
            if not timer.expired():
                timer.reschedule(now + self._spread_s * random.random())  # noqa: S311 -- spreads load, keeps no secret

    def check_open(self) -> None:
        """Raises Unavailable if all calls end."""
        if self._is_draining:
            raise self.end()

    def end(self) -> Unavailable:
        """Return what tells a caller that its call has ended, and that it may go on with another."""
        return Unavailable(self._ended, retry_after_s=self._retry_after_s)

    def _full(self, who: str, most: int) -> ResourceExhausted:
        return ResourceExhausted(
            f"The {who} has {most} {self._what} open, which is the most.", retry_after_s=_RETRY_AFTER_S
        )
