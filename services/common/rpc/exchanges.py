"""Calls that stream both ways: how many a caller may have, how long they wait, how they end when the server does."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator

from services.common.errors import DeadlineExceeded, ResourceExhausted, Unavailable

STREAMS_A_CALLER_MAX = 2048
# A job may be silent for long; whether its peer is still there is found out by keepalive.
MESSAGE_WAIT_S_MAX = 300.0
_RETRY_AFTER_S = 1.0
_STOP_RETRY_AFTER_S = 0.1


class Exchanges:
    """The streams of one server that go both ways."""

    def __init__(self) -> None:
        self._count_of: Counter[str] = Counter()
        self._waits: set[asyncio.Timeout] = set()
        self._draining = asyncio.Event()

    @contextlib.contextmanager
    def admitted(self, caller_name: str) -> Iterator[None]:
        """Count a stream while it lasts. Raises ResourceExhausted if its caller has 2,048 already."""
        if self._count_of[caller_name] >= STREAMS_A_CALLER_MAX:
            raise ResourceExhausted(
                f"The caller {caller_name} has {STREAMS_A_CALLER_MAX} streams open, which is the most.",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._count_of[caller_name] += 1
        try:
            yield
        finally:
            self._count_of[caller_name] -= 1
            if not self._count_of[caller_name]:
                del self._count_of[caller_name]

    async def arriving(self, bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what a caller sends until it has said all, or until the server stops.

        Raises DeadlineExceeded if nothing comes for 300 s.
        """
        while not self._draining.is_set():
            try:
                async with asyncio.timeout(MESSAGE_WAIT_S_MAX) as wait:
                    self._waits.add(wait)
                    try:
                        body = await anext(bodies, None)
                    finally:
                        self._waits.discard(wait)
            except TimeoutError:
                if self._draining.is_set():
                    return
                raise DeadlineExceeded(f"No message came for {MESSAGE_WAIT_S_MAX:.0f} s.") from None
            if body is None:
                return
            yield body

    def drain(self) -> None:
        """Take no more of what callers send: each stream ends when all that has come is answered."""
        self._draining.set()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(asyncio.get_running_loop().time())

    def check_open(self) -> None:
        """Raises Unavailable if the server is stopping: the caller goes on at another one."""
        if self._draining.is_set():
            raise Unavailable("The server is stopping; go on with another stream.", retry_after_s=_STOP_RETRY_AFTER_S)
