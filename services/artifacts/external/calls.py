"""Runs a store's blocking calls in a few threads, in bounded time, and tells its failures as ours."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from services.artifacts.external.files import Replaced
from services.common.errors import ServiceError, Unavailable

CALL_TIMEOUT_S = 15.0

_T = TypeVar("_T")
_A = TypeVarTuple("_A")
_log = logging.getLogger("modelstead.artifacts.external")


class Calls:
    """The calls of one store. Each store has threads of its own, so that one that hangs keeps up no other."""

    def __init__(self, store: str, *, failures: tuple[type[Exception], ...], at_once_max: int) -> None:
        self._store = store
        self._failures = failures
        self._threads = ThreadPoolExecutor(at_once_max, thread_name_prefix=f"store-{store}")

    async def run(self, function: Callable[[*_A], _T], *arguments: *_A, timeout_s: float | None = CALL_TIMEOUT_S) -> _T:
        """Return what a call returns. Raises Unavailable also if it takes longer; then it goes on in its thread."""
        return await self._result(self._threads.submit(lambda: self._translated(function, *arguments)), timeout_s)

    async def acquire(self, function: Callable[[*_A], _T], *arguments: *_A, release: Callable[[_T], object]) -> _T:
        """Return what a call returns; if nobody waits for that any more, release it when it comes."""
        future = self._threads.submit(lambda: self._translated(function, *arguments))
        try:
            return await self._result(future, CALL_TIMEOUT_S)
        except BaseException:
            future.add_done_callback(lambda late: _release(late, release))
            raise

    def close(self) -> None:
        """Take no more calls; those under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _result(self, future: "Future[_T]", timeout_s: float | None) -> _T:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            _log.warning("artifact store too slow", extra={"store": self._store, "timeout_s": timeout_s})
            raise self._away("did not answer in time") from None

    def _translated(self, function: Callable[[*_A], _T], *arguments: *_A) -> _T:
        try:
            return function(*arguments)
        except ServiceError:
            raise
        except Replaced:
            raise Unavailable("The file was replaced while it was read; try again.", retry_after_s=1.0) from None
        except self._failures as error:
            _log.warning("artifact store failed", extra={"store": self._store, "error": repr(error)})
            refused = isinstance(error, PermissionError)
            raise self._away("refuses this server" if refused else "is away or does not work") from error

    def _away(self, how: str) -> Unavailable:
        return Unavailable(f"The artifact store '{self._store}' {how}.", retry_after_s=1.0)


def _release(late: "Future[_T]", release: Callable[[_T], object]) -> None:
    if not late.cancelled() and late.exception() is None:
        release(late.result())
