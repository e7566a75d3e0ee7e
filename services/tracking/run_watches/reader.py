"""Reads a run while it is watched, once for all who watch it in this process."""

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.trace import Span as TraceSpan

from services.common import tracing
from services.common.database import Database, Driver
from services.common.errors import NotFound, ServiceError
from services.tracking.metrics import arrivals, columns
from services.tracking.metrics.arrivals import Span
from services.tracking.metrics.columns import Points
from services.tracking.run_watches import store
from services.tracking.run_watches.changes import RunChanges
from services.tracking.run_watches.model import (
    METRICS_MAX,
    PAGE_POINTS,
    Block,
    Mark,
    RunState,
    Selection,
    WatchedMetric,
)

# A run is read at most so often, and after a reading rested for so many times as long as it took.
PERIOD_S = 0.2
REST_FACTOR = 4
RETRY_S = 1.0
# Of all metrics of a run, what came since the reading before.
BLOCK_POINTS_MAX = 16_384

_log = logging.getLogger("modelstead.run_watches")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a run was at one time: its state, and its metrics by id."""

    mark: Mark
    state: RunState
    metrics: Mapping[int, WatchedMetric]


@dataclass(eq=False)
class _Following:
    """The one reader of a run, and who follows it."""

    selections: list[Selection] = field(default_factory=list)
    # Of the calls that follow it, as far as they are recorded.
    spans: list[TraceSpan] = field(default_factory=list)
    reading: Reading | None = None
    failure: ServiceError | None = None
    # What came with the newest reading; watchers that miss it read for themselves.
    blocks: dict[int, Block] = field(default_factory=dict)
    # How many readings were asked for, and how many of these the newest one answers.
    asked: int = 0
    answered: int = 0
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    read: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self.asked += 1
        self.woken.set()


class Follower:
    """One watcher's view of the readings of a run."""

    def __init__(self, following: _Following, selection: Selection) -> None:
        self._following = following
        self._selection = selection
        # The first reading that counts is one that began after the watcher came.
        self._seen = following.asked - 1

    @property
    def is_current(self) -> bool:
        """Whether no reading is outstanding, and the newest one has been taken: nothing is known to have come since."""
        return self._seen >= self._following.asked

    async def reading(self, timeout_s: float) -> Reading | None:
        """Return the newest reading once it is newer than the one before; None after a time. Raises NotFound."""
        following = self._following
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while following.answered <= self._seen:
                    await following.read.wait()
        if following.failure:
            raise following.failure
        if following.answered <= self._seen:
            return None
        self._seen = following.answered
        return following.reading

    def metrics(self, reading: Reading) -> list[WatchedMetric]:
        """Return what the watcher watches, by id."""
        return self._selection.of(reading.metrics.values())

    def block(self, metric_id: int) -> Block | None:
        """Return what came last of a metric, if it is at hand."""
        return self._following.blocks.get(metric_id)


class Readers:
    """The readers of this process, one for each run that is watched."""

    def __init__(self, db: Database, changes: RunChanges) -> None:
        self._db = db
        self._changes = changes
        self._of_run: dict[str, tuple[_Following, asyncio.Task[None]]] = {}

    @contextlib.contextmanager
    def following(self, run_id: str, selection: Selection) -> Iterator[Follower]:
        """Follow a run for the length of the block."""
        if run_id not in self._of_run:
            following = _Following()
            task = asyncio.create_task(self._run(run_id, following), context=contextvars.Context())
            self._of_run[run_id] = following, task
        following, task = self._of_run[run_id]
        following.selections.append(selection)
        span = tracing.recorded()
        if span is not None:
            following.spans.append(span)
        following.wake()
        try:
            yield Follower(following, selection)
        finally:
            following.selections.remove(selection)
            if span is not None:
                following.spans.remove(span)
            if not following.selections:
                task.cancel()
                del self._of_run[run_id]

    async def _run(self, run_id: str, following: _Following) -> None:
        with self._changes.following(run_id, following.wake):
            while True:
                await following.woken.wait()
                following.woken.clear()
                asked, began = following.asked, time.monotonic()
                try:
                    with tracing.linked("read watched run", following.spans):
                        await self._read(run_id, following)
                except NotFound as error:
                    following.failure = error
                except ServiceError as error:
                    _log.warning("watching waits", extra={"cause": error.message})
                    await _retry(following)
                    continue
                except Exception:  # noqa: BLE001 -- the boundary of a task whose end nobody would notice
                    _log.exception("watching failed")
                    await _retry(following)
                    continue
                following.answered = asked
                following.read.set()
                following.read.clear()
                await asyncio.sleep(max(PERIOD_S, REST_FACTOR * (time.monotonic() - began)))
                # Whoever has not taken them by now does not need them soon.
                following.blocks = {}

    async def _read(self, run_id: str, following: _Following) -> None:
        before, selections = following.reading, tuple(following.selections)
        keys = {key for selection in selections for key in selection.keys}
        first_count = 0 if all(selection.keys for selection in selections) else METRICS_MAX
        async with self._db.pipeline(snapshot=True) as tx:
            mark = (await store.marks(tx, [run_id])).get(run_id)
            metrics = await store.metrics(tx, run_id, keys=keys, first_count=first_count)
            known = before.state if before and mark and before.mark.state == mark.state else None
            state = known or await store.state(tx, run_id)
            if mark is None or state is None:
                raise NotFound(f"Run with id={run_id} not found")
            blocks = await _blocks(tx, before, metrics) if before else {}
        self._changes.note(run_id, mark)
        following.failure = None
        following.blocks = blocks
        following.reading = Reading(mark=mark, state=state, metrics={metric.metric_id: metric for metric in metrics})


async def _retry(following: _Following) -> None:
    await asyncio.sleep(RETRY_S)
    following.woken.set()


async def _blocks(tx: Driver, before: Reading, metrics: Sequence[WatchedMetric]) -> dict[int, Block]:
    """Return what came of metrics since a reading, but for those of which too much did."""
    blocks: dict[int, Block] = {}
    spans: list[Span[WatchedMetric]] = []
    room = BLOCK_POINTS_MAX
    for metric in metrics:
        known = before.metrics.get(metric.metric_id)
        first = known.point_count if known else 0
        count = metric.point_count - first
        if known and known.sort_count != metric.sort_count:
            continue
        if count == 1 and metric.in_order:
            # One that came alone, and in order, is the latest.
            blocks[metric.metric_id] = Block(sort_count=metric.sort_count, first=first, points=_latest(metric))
        elif 0 < count <= min(PAGE_POINTS, room):
            spans.append(Span(metric, first, metric.point_count))
            room -= count
    for span, points in zip(spans, await arrivals.read(tx, spans), strict=True):
        first = span.last - len(points)
        blocks[span.metric.metric_id] = Block(sort_count=span.metric.sort_count, first=first, points=points)
    return blocks


def _latest(metric: WatchedMetric) -> Points:
    return columns.points([metric.timestamp], [metric.step], [metric.value])
