"""Reads, for one watcher, what it missed: a page at a time, of points in the order in which they arrived."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.database import Database, Driver
from services.tracking.metrics import arrivals, places
from services.tracking.metrics.arrivals import Span
from services.tracking.metrics.model import bucket_starts
from services.tracking.run_watches import model, store
from services.tracking.run_watches.model import (
    BEHIND_POINTS_MAX,
    PAGE_POINTS,
    SAMPLE_POINTS,
    Cursor,
    Known,
    NewPoints,
    Plan,
    WatchedMetric,
)

# So many pages are read at a time, whoever waits; after each, its place rests for as long as it took.
PAGES_AT_ONCE = 2
METRICS_A_PAGE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Something to tell of a metric, perhaps nothing, and what a watcher knows after it."""

    metric_id: int
    cursor: Cursor
    points: NewPoints | None


class CatchingUp:
    """Reads pages, few at a time, so that watchers who are behind take little from those who log."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._places = asyncio.Semaphore(PAGES_AT_ONCE)

    async def page(self, run_id: str, metric_ids: Sequence[int], known: Known, *, every_point: bool) -> list[Told]:
        """Return what comes next of some metrics, at most 4,096 points and samples of 320. Metrics that are gone, or
        that the watcher knows all of, have nothing.
        """
        async with self._place(), self._db.pipeline(snapshot=True) as tx:
            metrics = await store.some_metrics(tx, run_id, metric_ids[:METRICS_A_PAGE])
            told, plans, room = list[Told](), list[Plan](), PAGE_POINTS
            for metric in metrics:
                cursor = known.cursor(metric.metric_id)
                if room <= 0 or not known.is_behind(metric):
                    continue
                if cursor and cursor.sort_count < metric.sort_count:
                    resorted = await _after_sort(tx, metric, cursor, every_point=every_point)
                    if isinstance(resorted, Plan):
                        plans.append(resorted)
                    else:
                        told.append(resorted)
                    room = 0
                else:
                    plans.append(
                        model.plan(metric, cursor, every_point=every_point, is_begun=known.is_begun, room=room)
                    )
                    room -= plans[-1].point_count
            return told + await _read(tx, plans)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        await self._places.acquire()
        began = time.monotonic()
        try:
            yield
        finally:
            asyncio.get_running_loop().call_later(time.monotonic() - began, self._places.release)


async def _read(tx: Driver, plans: Sequence[Plan]) -> list[Told]:
    whole = [Span(plan.metric, plan.first, plan.last) for plan in plans if plan.places is None]
    spans = iter(await arrivals.read(tx, whole))
    told = []
    for plan in plans:
        points = next(spans) if plan.places is None else await places.points_at(tx, plan.metric, plan.places)
        news = NewPoints(
            key=plan.metric.key,
            points=model.in_step_order(plan.metric, points),
            skipped_count=plan.skipped_count,
            is_restart=plan.is_restart,
        )
        told.append(Told(metric_id=plan.metric.metric_id, cursor=plan.cursor, points=news if len(points) else None))
    return told


async def _after_sort(tx: Driver, metric: WatchedMetric, cursor: Cursor, *, every_point: bool) -> Told | Plan:
    """Return what a metric's first sort since the cursor leaves to tell; how to begin anew where it is forgotten.

    What was not known before the sort is told in the order that it had then, so that the cursor stays a place.
    """
    sorts = [
        await arrivals.sort(tx, metric.metric_id, number)
        for number in range(cursor.sort_count + 1, metric.sort_count + 1)
    ]
    if any(sort is None for sort in sorts):
        plan = model.plan(metric, None, every_point=every_point, is_begun=False, room=PAGE_POINTS)
        return dataclasses.replace(plan, is_restart=True)
    first, *later = [sort for sort in sorts if sort is not None]
    left = np.flatnonzero(first >= cursor.place)
    left = left[np.argsort(first[left])]
    chosen, after = left[:PAGE_POINTS], Cursor(cursor.sort_count + 1, len(first))
    if not every_point and len(left) > BEHIND_POINTS_MAX:
        chosen = left[bucket_starts(len(left), SAMPLE_POINTS)]
    elif len(left) > PAGE_POINTS:
        after = Cursor(cursor.sort_count, int(first[chosen[-1]]) + 1)
    # Where they are now: a later sort moved them.
    for sort in later:
        chosen = np.flatnonzero(np.isin(sort, chosen))
    points = await places.points_at(tx, metric, np.sort(chosen).tolist())
    skipped = len(left) - len(chosen) if after.sort_count > cursor.sort_count else 0
    news = NewPoints(key=metric.key, points=points, skipped_count=skipped) if len(points) else None
    return Told(metric_id=metric.metric_id, cursor=after, points=news)
