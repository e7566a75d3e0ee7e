"""The background work on chunks: while runs log, and once more when they end, few large ones are made of many.

It takes at most a fifth of the time, so that logging goes first. Each step is a transaction of bounded size, and what a
crash leaves undone stays queued.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from prometheus_client import Counter

from services.common.database import Database, Driver
from services.common.errors import ServiceError
from services.tracking.sealing import model, store
from services.tracking.sealing.model import Merge

PERIOD_S = 5.0
# After a step, rest for so many times as long as it took.
REST_FACTOR = 4
RUNS_A_PAGE = 100
METRICS_A_PAGE = 500
# For so long who watches a metric can come back to it, sorted or not, and be told no point twice.
SORTS_KEPT_S = 3600
SORTS_A_PURGE = 100

SEALED_CHUNKS = Counter("modelstead_sealed_chunks", "Chunks of points made of smaller ones.")

_log = logging.getLogger("modelstead.sealing")


@dataclass(slots=True)
class Sealing:
    """The use-cases."""

    db: Database
    # What was queued before then has been looked after.
    _since_s: float = field(default_factory=time.monotonic, init=False)

    @property
    def lag_ms(self) -> int:
        """How long ago at most what is queued now was stored, as long as somebody looks after it."""
        return int(1000 * (time.monotonic() - self._since_s))

    async def work(self) -> None:
        """Look after what is queued, for ever. Failures are logged and tried again."""
        while True:
            try:
                await self.look_after_all()
                await self.forget_sorts()
            except ServiceError as error:
                _log.warning("sealing waits", extra={"cause": error.message})
            except Exception:  # noqa: BLE001 -- the boundary of the work on one round
                _log.exception("sealing failed")
            await asyncio.sleep(PERIOD_S)

    async def look_after_all(self) -> None:
        """Look after each run that is queued now."""
        began_s = time.monotonic()
        after = ""
        while True:
            async with self.db.pipeline(snapshot=True) as tx:
                queued = await store.queued(tx, after=after, limit=RUNS_A_PAGE)
            for run_id, change_count in queued:
                await self.look_after(run_id, change_count)
            if len(queued) < RUNS_A_PAGE:
                break
            after = queued[-1][0]
        self._since_s = began_s

    async def forget_sorts(self) -> None:
        """Forget how metrics were sorted long ago, or a bounded part of it."""
        async with self.db.pipeline() as tx:
            await store.forget_sorts(tx, age_s=SORTS_KEPT_S, limit=SORTS_A_PURGE)

    async def look_after(self, run_id: str, change_count: int) -> None:
        """Merge what can be merged of a run, and take it from the queue if it has not logged meanwhile.

        Does nothing if another worker is at it.
        """
        work = _Work(run_id)
        while True:
            began = time.monotonic()
            async with self.db.pipeline() as tx:
                is_over = await store.lock(tx, run_id)
                if is_over is None:
                    return
                if await work.step(tx, is_over=is_over):
                    await store.dequeue(tx, run_id, change_count=change_count)
                    return
            SEALED_CHUNKS.inc(work.take_chunk_count())
            await asyncio.sleep(REST_FACTOR * (time.monotonic() - began))


class _Work:
    """What has been done of a run in one visit."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        # All metrics up to this one are well stored.
        self._after = 0
        # Metrics whose time goes back where their steps go on: no order serves both.
        self._unsortable: set[int] = set()
        self._chunk_count = 0

    def take_chunk_count(self) -> int:
        """Return how many chunks were made since this was asked for last."""
        count, self._chunk_count = self._chunk_count, 0
        return count

    async def step(self, tx: Driver, *, is_over: bool) -> bool:
        """Do a bounded part, with the run locked. Returns whether all was done before."""
        metrics = await store.metrics_of(tx, self._run_id, after=self._after, limit=METRICS_A_PAGE)
        points_left, chunks_left, has_worked = model.STEP_POINTS_MAX, model.STEP_CHUNKS_MAX, False
        for metric in metrics:
            merge = model.plan(metric, is_over=is_over, can_sort=metric.metric_id not in self._unsortable)
            if merge is not None:
                if has_worked and (merge.point_count > points_left or len(merge.chunk_ids) > chunks_left):
                    return False
                await self._do(tx, merge)
                # It may have more to merge, and is looked at again in the next step.
                has_worked = True
                points_left -= merge.point_count
                chunks_left -= len(merge.chunk_ids)
            elif not has_worked:
                self._after = metric.metric_id
        return not has_worked and len(metrics) < METRICS_A_PAGE

    async def _do(self, tx: Driver, merge: Merge) -> None:
        points = await store.take(tx, merge.metric_id, merge.chunk_ids, with_pending=merge.with_pending)
        if merge.is_sort:
            # So many take a while, in which others are served.
            order = await asyncio.to_thread(points.step_order)
            ordered = points.take(order)
            if model.is_in_order(ordered):
                points = ordered
                await store.set_order(tx, merge.metric_id, places=order)
            else:
                self._unsortable.add(merge.metric_id)
        chunks = model.numbered(points, merge)
        await store.put(tx, merge.metric_id, chunks)
        self._chunk_count += len(chunks)
