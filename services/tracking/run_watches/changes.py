"""Which of the runs that are watched may have changed: what this process commits is told at once, what others commit is
found by looking, and only while somebody watches. Who logs pays nothing for it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from services.common.errors import ServiceError
from services.tracking.run_watches.model import Mark

PERIOD_S = 0.25
# After a look, rest for so many times as long as it took.
REST_FACTOR = 4
RUNS_A_LOOK = 500

_log = logging.getLogger("modelstead.run_watches")


class RunChanges:
    """Wakes who follows a run, more often rather than too rarely.

    `look` returns the marks of those of some runs that exist.
    """

    def __init__(self, look: Callable[[Sequence[str]], Awaitable[Mapping[str, Mark]]]) -> None:
        self._look = look
        self._followed: dict[str, _Followed] = {}
        self._task: asyncio.Task[None] | None = None
        # Whether the last look succeeded.
        self.hears = False

    def tell(self, run_ids: Iterable[str]) -> None:
        """Take runs for changed, by what has been committed."""
        if self._followed:
            for run_id in run_ids:
                if followed := self._followed.get(run_id):
                    followed.wake()

    def note(self, run_id: str, mark: Mark) -> None:
        """Take a mark for known; what it stands for was read with it."""
        if followed := self._followed.get(run_id):
            followed.mark = mark

    @contextlib.contextmanager
    def following(self, run_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Have a function called whenever a run may have changed, for the length of the block; one follows a run."""
        mine = self._followed[run_id] = _Followed(wake)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            # Another may have taken its place, where it took time to end.
            if self._followed.get(run_id) is mine:
                del self._followed[run_id]
            if not self._followed and self._task is not None:
                self._task.cancel()
                self._task, self.hears = None, False

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._look_at_all()
                self.hears = True
            except ServiceError as error:
                self.hears = False
                _log.warning("watching waits", extra={"cause": error.message})
            except Exception:  # noqa: BLE001 -- the boundary of a task whose end nobody would notice
                self.hears = False
                _log.exception("watching failed")
            await asyncio.sleep(max(PERIOD_S, REST_FACTOR * (time.monotonic() - began)))

    async def _look_at_all(self) -> None:
        run_ids = iter(tuple(self._followed))
        while batch := list(islice(run_ids, RUNS_A_LOOK)):
            known = {run_id: followed.mark for run_id in batch if (followed := self._followed.get(run_id))}
            found = await self._look(batch)
            for run_id, mark in known.items():
                followed = self._followed.get(run_id)
                # Where a mark was noted meanwhile, the next look tells.
                if followed and mark and followed.mark == mark and found.get(run_id) != mark:
                    followed.wake()


class _Followed:
    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.mark: Mark | None = None
