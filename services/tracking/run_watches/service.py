"""Tells watchers of a run what they do not know yet: each at its own pace, from where it is.

Of a watcher nothing is kept but what it knows, and the page that it is being told. One that is slow, or was away, reads
for itself until it has caught up; those that keep up are told from what was read once for all.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from services.common.database import Database
from services.common.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from services.tracking.run_watches import model, store
from services.tracking.run_watches.catching_up import CatchingUp, Told
from services.tracking.run_watches.changes import RunChanges
from services.tracking.run_watches.model import Cursor, Known, NewPoints, ToldRun, Update, WatchedMetric
from services.tracking.run_watches.reader import Follower, Readers, Reading
from services.tracking.runs.model import LatestMetrics

HEARTBEAT_S = 15.0
RETRY_S = 1.0


def run_changes(db: Database) -> RunChanges:
    """Return what tells of the changes of runs, whoever commits them."""

    async def look(run_ids: Sequence[str]) -> dict[str, model.Mark]:
        async with db.pipeline(snapshot=True) as tx:
            return await store.marks(tx, run_ids)

    return RunChanges(look)


class RunWatches:
    """All watchers of this process."""

    def __init__(self, db: Database, changes: RunChanges, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._changes = changes
        self._heartbeat_s = heartbeat_s
        self._readers = Readers(db, changes)
        self._catching_up = CatchingUp(db)

    async def watch(
        self, run_id: str, *, metric_keys: Sequence[str], every_point: bool, resume_token: str
    ) -> AsyncGenerator[Update, None]:
        """Yield what the run is and what its metrics have, but for what who has the token knows; then what comes. That
        all is told is told at the beginning, after a change of the run, and after 15 seconds of silence, unless this
        process cannot tell. Raises InvalidArgument, NotFound.
        """
        selection = model.selection(metric_keys)
        known = Known(run_id, resume_token)
        with self._readers.following(run_id, selection) as follower:
            watcher = _Watcher(run_id, known, follower, self._catching_up, every_point=every_point)
            spoke, owes_end = time.monotonic(), True
            while True:
                reading = await follower.reading(spoke + self._heartbeat_s - time.monotonic())
                if reading is not None:
                    async for update in watcher.news(reading):
                        yield update
                        spoke, owes_end = time.monotonic(), owes_end or update.run is not None
                    is_all_told = owes_end or time.monotonic() >= spoke + self._heartbeat_s
                else:
                    is_all_told = self._changes.hears and follower.is_current
                if is_all_told:
                    yield Update(resume_token=known.token())
                    spoke, owes_end = time.monotonic(), False
                elif reading is None:
                    # It cannot be told that nothing has changed: the next reading tells.
                    spoke, owes_end = time.monotonic(), True


@dataclass(frozen=True, slots=True)
class _Watcher:
    run_id: str
    known: Known
    follower: Follower
    catching_up: CatchingUp
    every_point: bool

    async def news(self, reading: Reading) -> AsyncIterator[Update]:
        """Yield what a reading has that is news, and what came since of the same metrics."""
        metrics = self.follower.metrics(reading)
        self.known.keep({metric.metric_id for metric in metrics})
        if self.known.learn_state(reading.state):
            run = ToldRun(state=reading.state, metrics=_latest(metrics))
            yield Update(resume_token=self.known.token(), run=run)
        while behind := [metric for metric in metrics if self.known.is_behind(metric)]:
            is_stuck = True
            async for told in self._next(behind):
                is_stuck = False
                self.known.learn(told.metric_id, told.cursor)
                if told.points is not None:
                    yield Update(resume_token=self.known.token(), points=told.points)
            if is_stuck:
                # They are gone since.
                break
        self.known.is_begun = True

    async def _next(self, behind: Sequence[WatchedMetric]) -> AsyncIterator[Told]:
        """Yield what is at hand of metrics, and a page of those of which nothing is."""
        missed: list[int] = []
        for metric in behind:
            told = self._at_hand(metric)
            if told is not None:
                yield told
            else:
                missed.append(metric.metric_id)
        for told in await self._page(missed) if missed else ():
            yield told

    def _at_hand(self, metric: WatchedMetric) -> Told | None:
        block = self.follower.block(metric.metric_id)
        cursor = self.known.cursor(metric.metric_id)
        if cursor is None and self.known.is_begun:
            # It is new.
            cursor = Cursor(metric.sort_count, 0)
        found = block.after(cursor) if block and cursor else None
        if found is None:
            return None
        points, after = found
        news = NewPoints(key=metric.key, points=model.in_step_order(metric, points))
        return Told(metric_id=metric.metric_id, cursor=after, points=news)

    async def _page(self, metric_ids: Sequence[int]) -> list[Told]:
        """Read a page, once that can be done."""
        while True:
            try:
                return await self.catching_up.page(self.run_id, metric_ids, self.known, every_point=self.every_point)
            except (Unavailable, ResourceExhausted, DeadlineExceeded):
                await asyncio.sleep(RETRY_S)


def _latest(metrics: Sequence[WatchedMetric]) -> LatestMetrics | None:
    if not metrics:
        return None
    return LatestMetrics(
        key=[metric.key for metric in metrics],
        value=[metric.value for metric in metrics],
        timestamp=[metric.timestamp for metric in metrics],
        step=[metric.step for metric in metrics],
    )
