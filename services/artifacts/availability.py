"""Runs blocking calls to the object store in a bounded number of threads, and gives them up once the store is away."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from services.common import tracing
from services.common.errors import Unavailable

# Together they bound how long a call goes unanswered while the store is away.
PATIENCE_S = 0.25
PROBE_TIMEOUT_S = 1.5

_T = TypeVar("_T")
_A = TypeVarTuple("_A")

_log = logging.getLogger("modelstead.object_store")


class Watch:
    """Tells a slow store from one that is away: a call that takes long has the store asked for a sign of life.

    Calls may then take as long as they need while the store answers, or gets on with any of them, and else are given
    up within 1.75 s, also those of a transfer that has gone on for long.
    """

    def __init__(self, probe: Callable[[], bool], *, threads: int) -> None:
        """`probe` blocks, returns whether the store answers, and raises nothing."""
        self._probe = probe
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="objects")
        # Of its own, so that a sign of life never waits behind what it is about.
        self._probe_pool = ThreadPoolExecutor(1, thread_name_prefix="objects-probe")
        self._probing: asyncio.Task[bool] | None = None
        self._is_away = False
        self._calls_done = 0

    async def run(self, call: Callable[[*_A], _T], *arguments: *_A) -> _T:
        """Return what a blocking call returns, or raise what it raises. Raises Unavailable once the store is away.

        A call that was given up, or whose caller was cancelled, still runs to its end in its thread.
        """
        if self._is_away:
            await self.check()
        running = asyncio.get_running_loop().run_in_executor(self._pool, tracing.carried(call), *arguments)
        try:
            while not (await asyncio.wait((running,), timeout=PATIENCE_S))[0]:
                await self.check()
        except BaseException:
            running.add_done_callback(_look_away)
            raise
        result = running.result()
        self._calls_done += 1
        return result

    def later(self, call: Callable[[], object]) -> None:
        """Run a blocking call whose outcome is of no interest."""
        self._pool.submit(call)

    async def probe(self) -> bool:
        """Return whether the store gives a sign of life. Callers at one time share a probe."""
        if self._probing is None:
            self._probing = asyncio.create_task(self._look())
        return await asyncio.shield(self._probing)

    async def check(self) -> None:
        """Raises Unavailable unless the store gives a sign of life."""
        if not await self.probe():
            raise Unavailable("The object store is unavailable; try again.", retry_after_s=1)

    def close(self) -> None:
        """Take no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._probe_pool.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> bool:
        calls_done = self._calls_done
        looking = asyncio.get_running_loop().run_in_executor(self._probe_pool, self._probe)
        done, _ = await asyncio.wait((looking,), timeout=PROBE_TIMEOUT_S)
        # Where many share a busy store, its getting on with one of them is a sign of life as good.
        is_away = not (done and looking.result()) and self._calls_done == calls_done
        if is_away != self._is_away:
            _log.warning("object store is away" if is_away else "object store is back")
        self._is_away, self._probing = is_away, None
        return not is_away


def _look_away(running: "asyncio.Future[_T]") -> None:
    if not running.cancelled():
        running.exception()
