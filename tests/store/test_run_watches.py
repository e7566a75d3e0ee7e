"""Watchers of a run in one process: what they share, what they are told after a sort, and when all is quiet."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from services.common.database import Database, Driver
from services.tracking.run_logs.service import RunLogs
from services.tracking.run_watches.model import Update
from services.tracking.run_watches.service import RunWatches, run_changes
from services.tracking.sealing.service import Sealing
from tests.store import factories

_PATIENCE_S = 60.0
_WATCHERS = 30
Row = tuple[int, int, float]


@pytest.fixture
async def run_id(db: Database) -> str:
    return await factories.new_run(db, await factories.new_experiment(db))


class Watching:
    """One process's watches, and the logging that wakes them."""

    def __init__(self, db: Database, *, heartbeat_s: float = 15.0) -> None:
        changes = run_changes(db)
        self.logs = RunLogs(db, tell=changes.tell)
        self._watches = RunWatches(db, changes, heartbeat_s=heartbeat_s)

    async def until(
        self, run_id: str, met: Callable[[list[Update]], bool], *, token: str = "", every_point: bool = False
    ) -> list[Update]:
        """Watch until what is told is as wanted."""
        told: list[Update] = []
        updates = self._watches.watch(run_id, metric_keys=(), every_point=every_point, resume_token=token)
        async with asyncio.timeout(_PATIENCE_S), contextlib.aclosing(updates):
            async for update in updates:
                told.append(update)
                if met(told):
                    return told
        raise AssertionError("it ended")

    async def log(self, run_id: str, rows: list[Row]) -> None:
        points = [("m", value, timestamp, step) for timestamp, step, value in rows]
        await self.logs.log(factories.batch(run_id, metrics=points))


def _is_end(told: list[Update]) -> bool:
    return told[-1].run is None and told[-1].points is None


def _steps(told: list[Update]) -> list[int]:
    return [step for update in told if update.points for step in update.points.points.steps.tolist()]


def _rows(first: int, count: int) -> list[Row]:
    return [(1000 + step, step, float(step)) for step in range(first, first + count)]


class CountingDatabase(Database):
    """Counts the transactions that read."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.reads = 0

    def pipeline(self, *, snapshot: bool = False) -> AbstractAsyncContextManager[Driver]:
        self.reads += snapshot
        return self._db.pipeline(snapshot=snapshot)


class StallingDatabase(Database):
    """Lets nobody read while `is_clear` is not set."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.is_clear = asyncio.Event()
        self.is_clear.set()

    @asynccontextmanager
    async def pipeline(self, *, snapshot: bool = False) -> AsyncIterator[Driver]:
        await self.is_clear.wait()
        async with self._db.pipeline(snapshot=snapshot) as driver:
            yield driver


async def test_those_who_keep_up_share_one_reader(db: Database, run_id: str) -> None:
    counting = CountingDatabase(db)
    watching = Watching(counting)
    reads = dict[int, int]()

    for watchers in (1, _WATCHERS):
        first, come = 1000 * watchers, asyncio.Semaphore(0)

        async def follow(first: int = first, come: asyncio.Semaphore = come) -> list[int]:
            def met(told: list[Update]) -> bool:
                if _is_end(told):
                    come.release()
                return first + 19 in _steps(told)

            return _steps(await watching.until(run_id, met))

        following = [asyncio.create_task(follow()) for _ in range(watchers)]
        for _ in following:
            await come.acquire()
        before = counting.reads
        for step in range(first, first + 20):
            await watching.log(run_id, [(step, step, 0.0)])
        every = await asyncio.gather(*following)
        reads[watchers] = counting.reads - before

        assert all(steps[-20:] == list(range(first, first + 20)) for steps in every)

    # Alone, each would have read as often as one does.
    assert reads[_WATCHERS] < _WATCHERS / 2 * reads[1], reads


async def test_token_from_before_a_sort_that_is_forgotten_begins_anew(db: Database, run_id: str) -> None:
    watching = Watching(db)
    await watching.log(run_id, _rows(300, 300))
    before = await watching.until(run_id, _is_end, every_point=True)
    await watching.log(run_id, _rows(0, 300))
    await factories.runs(db).update(run_id, status="FINISHED", end_time=1, run_name="")
    await Sealing(db).look_after_all()
    token = before[-1].resume_token

    kept = await watching.until(run_id, _is_end, token=token, every_point=True)
    async with db.pipeline() as tx:
        await tx.execute("UPDATE metric_sorts SET sort_time = 0")
    await Sealing(db).forget_sorts()
    forgotten = await watching.until(run_id, _is_end, token=token, every_point=True)

    assert _steps(before) == list(range(300, 600))
    assert _steps(kept) == list(range(300))
    assert [update.points.is_restart for update in forgotten if update.points] == [True]
    assert _steps(forgotten) == list(range(600))


async def test_silence_is_broken_from_time_to_time(db: Database, run_id: str) -> None:
    watching = Watching(db, heartbeat_s=0.5)

    told = await watching.until(run_id, lambda told: len(told) == 4)

    assert [update.run is not None for update in told] == [True, False, False, False]
    assert not _steps(told)


async def test_watcher_of_a_quiet_metric_of_a_busy_run_is_told_that_all_is_told(db: Database, run_id: str) -> None:
    changes = run_changes(db)
    logs = RunLogs(db, tell=changes.tell)
    await logs.log(factories.batch(run_id, metrics=[("quiet", 1.0, 1000, 0)]))

    async def log() -> None:
        for step in itertools.count():
            await logs.log(factories.batch(run_id, metrics=[("busy", 1.0, 1000 + step, step)]))

    updates = RunWatches(db, changes, heartbeat_s=0.3).watch(
        run_id, metric_keys=["quiet"], every_point=False, resume_token=""
    )
    logging = asyncio.create_task(log())
    try:
        async with asyncio.timeout(_PATIENCE_S), contextlib.aclosing(updates):
            told = [await anext(updates) for _ in range(6)]
    finally:
        logging.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await logging

    assert [_is_end([update]) for update in told] == [False, False, True, True, True, True]


async def test_it_is_not_told_that_all_is_told_while_a_reading_is_outstanding(db: Database, run_id: str) -> None:
    stalling, changes = StallingDatabase(db), run_changes(db)
    logs = RunLogs(db, tell=changes.tell)
    updates = RunWatches(stalling, changes, heartbeat_s=0.2).watch(
        run_id, metric_keys=(), every_point=False, resume_token=""
    )
    async with asyncio.timeout(_PATIENCE_S), contextlib.aclosing(updates):
        assert not _is_end([await anext(updates)])
        assert _is_end([await anext(updates)])
        stalling.is_clear.clear()
        await logs.log(factories.batch(run_id, metrics=[("m", 1.0, 1000, 7)]))
        following = asyncio.create_task(anext(updates))
        done, _ = await asyncio.wait([following], timeout=1)
        assert not done
        stalling.is_clear.set()

        told = [await following]
        while not _steps(told):
            told.append(await anext(updates))

    assert not any(_is_end([update]) for update in told)
