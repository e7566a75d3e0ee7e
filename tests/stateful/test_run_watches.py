"""Watching in a seeded simulation on a real database: a watcher is told each point once, whatever is logged, sealed,
cut and resumed, at whichever replica.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from services.common.database import Database
from services.tracking.metrics.service import Metrics
from services.tracking.run_logs.service import RunLogs
from services.tracking.run_watches import changes, reader
from services.tracking.run_watches.service import RunWatches, run_changes
from services.tracking.sealing import model as sealing_model
from services.tracking.sealing.service import Sealing
from tests import long_form
from tests.store import factories

SEEDS = 60 if long_form.IS_LONG else 3
_STEPS = 120
_KEYS = ("ordered", "shuffled", "back")
_PATIENCE_S = 120.0

Row = tuple[int, int, float]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have less between two readings, and chunks large enough for sealing sooner, so that more happens."""
    monkeypatch.setattr(reader, "PERIOD_S", 0.01)
    monkeypatch.setattr(changes, "PERIOD_S", 0.02)
    monkeypatch.setattr(sealing_model, "FULL_POINTS", 300)


class Replica:
    """What one process of tracking has."""

    def __init__(self, db: Database) -> None:
        told = run_changes(db)
        self.logs = RunLogs(db, tell=told.tell)
        self.watches = RunWatches(db, told)
        self.sealing = Sealing(db)


class Watcher:
    """A client that is cut off again and again, and comes back to any replica with the newest token."""

    def __init__(self, run_id: str, replicas: list[Replica], *, every_point: bool, moved: asyncio.Event) -> None:
        self._moved = moved
        self.told: dict[str, list[Row]] = {key: [] for key in _KEYS}
        self.skipped: Counter[str] = Counter()
        self.status = ""
        self.token = ""
        self._run_id = run_id
        self._replicas = replicas
        self._every_point = every_point
        self._task: asyncio.Task[None] | None = None

    def connect(self, chance: random.Random) -> None:
        self._task = asyncio.create_task(self._follow(chance.choice(self._replicas)))

    async def cut(self) -> None:
        assert self._task
        if self._task.done():
            self._task.result()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def count(self, key: str) -> int:
        return len(self.told[key]) + self.skipped[key]

    async def _follow(self, replica: Replica) -> None:
        updates = replica.watches.watch(
            self._run_id, metric_keys=(), every_point=self._every_point, resume_token=self.token
        )
        async with contextlib.aclosing(updates):
            async for update in updates:
                self.token = update.resume_token
                if update.run:
                    self.status = update.run.state.info.status
                if news := update.points:
                    assert not news.is_restart
                    columns = (news.points.timestamps, news.points.steps, news.points.values)
                    self.told[news.key] += zip(*(column.tolist() for column in columns), strict=True)
                    self.skipped[news.key] += news.skipped_count
                self._moved.set()


class World:
    """One simulation."""

    def __init__(self, db: Database, run_id: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.run_id = run_id
        self.logged: dict[str, list[Row]] = {key: [] for key in _KEYS}
        self.replicas = [Replica(db), Replica(db)]
        self.moved = asyncio.Event()
        self.watchers = [
            Watcher(run_id, self.replicas, every_point=every, moved=self.moved) for every in (True, True, False)
        ]

    async def run(self) -> None:
        for watcher in self.watchers[1:]:
            watcher.connect(self.chance)
        for _ in range(_STEPS):
            await self._step(self.chance.random())
        await self.chance.choice(self.replicas).sealing.look_after_all()
        self._watch_from_the_start()
        for _ in range(5):
            await self._step(0.0)
        await self._until_all_is_told()
        for watcher in self.watchers:
            await watcher.cut()

    async def _step(self, dice: float) -> None:
        replica = self.chance.choice(self.replicas)
        if dice < 0.7:
            await replica.logs.log(factories.batch(self.run_id, metrics=list(self._points())))
        elif dice < 0.8:
            await replica.sealing.look_after_all()
        elif dice < 0.95:
            watcher = self.chance.choice(self.watchers[1:])
            await watcher.cut()
            await asyncio.sleep(0)
            watcher.connect(self.chance)
        else:
            # Let watchers get somewhere.
            await asyncio.sleep(self.chance.uniform(0, 0.05))

    def _watch_from_the_start(self) -> None:
        """Have one come who has been told nothing."""
        self.watchers[0].connect(self.chance)

    def _points(self) -> Iterator[tuple[str, float, int, int]]:
        """Yield new points of a metric, of which no two are equal."""
        key = self.chance.choice(_KEYS)
        rows = self.logged[key]
        for _ in range(self.chance.choice([1, 1, 3, 20, 200])):
            step = len(rows)
            if key == "shuffled":
                step += self.chance.randrange(-40, 40)
            # Time may go back where steps go on: such a metric is never sorted.
            time = 100_000 - len(rows) if key == "back" else 100_000 + step
            value = float(len(rows))
            rows.append((time, step, value))
            yield key, value, time, step

    async def _until_all_is_told(self) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while any(watcher.count(key) < len(self.logged[key]) for watcher in self.watchers for key in _KEYS):
                self.moved.clear()
                await self.moved.wait()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_each_point_is_told_once_whatever_happens(db: Database, seed: int) -> None:
    run_id = await factories.new_run(db, await factories.new_experiment(db))
    world = World(db, run_id, seed)

    await world.run()

    for key in _KEYS:
        metrics = Metrics(db=db, pages=factories.PAGES)
        history = [part async for part in metrics.read(run_id=run_id, key=key)]
        stored = Counter(
            row
            for part in history
            for row in zip(part.timestamps.tolist(), part.steps.tolist(), part.values.tolist(), strict=True)
        )
        for watcher in world.watchers:
            told = Counter(watcher.told[key])
            assert watcher.count(key) == len(world.logged[key])
            assert told <= stored
            assert watcher.skipped[key] or told == stored
            if key == "ordered":
                assert watcher.told[key] == sorted(watcher.told[key])
