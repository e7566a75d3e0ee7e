"""The ranks of runs: what is heard of them, who is lost, and what is told of them."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from services.common.database import Database, Driver
from services.common.errors import InvalidArgument, ServiceError
from services.common.pages import PageTokens
from services.tracking.metrics import store as metrics_store
from services.tracking.metrics.store import INT64_MAX, INT64_MIN
from services.tracking.run_ranks import model, store, summaries
from services.tracking.run_ranks.model import Move, Progress, Rank, RankState
from services.tracking.run_ranks.presence import Key, Presence
from services.tracking.run_ranks.summaries import RankSummary

SUMMARY_POINTS_MAX = 2_000_000
RANKS_A_STEP = 5000
RUNS_A_STEP = 100

_log = logging.getLogger("modelstead.run_ranks")


class RunRanks:
    """The use-cases. What is heard is kept in memory, and written every 4 s by `work`.

    `now_ms` returns milliseconds since the Unix epoch. Replicas write at the same times, so that ranks which are heard
    of by different ones can be compared; their clocks are to differ by less than a few seconds.
    """

    def __init__(self, db: Database, *, pages: PageTokens, now_ms: Callable[[], int]) -> None:
        self._db = db
        self._pages = pages
        self._now_ms = now_ms
        self._presence = Presence()
        self._watch = model.Watch()

    def heard(self, sender: Rank | None, run_ids: Collection[str]) -> None:
        """Note that a rank lives, and takes part in these runs. Raises InvalidArgument, ResourceExhausted."""
        self._presence.heard(model.check_heartbeat(sender, run_ids), run_ids, now=self._now_ms())

    def logged(self, rank: Rank, run_id: str, *, step: int, timestamp: int) -> None:
        """Note the greatest step and timestamp of points of a rank that are stored."""
        self._presence.logged(rank, run_id, step=step, timestamp=timestamp)

    async def work(self) -> None:
        """Write what is heard, and look for who is not, for ever. Failures are logged and tried again."""
        while True:
            await asyncio.sleep((model.PERIOD_MS - self._now_ms() % model.PERIOD_MS) / 1000)
            try:
                await self.look_after_all()
            except ServiceError as error:
                _log.warning("what is heard of ranks waits", extra={"cause": error.message})
            except Exception:  # noqa: BLE001 -- the boundary of the work on one round
                _log.exception("looking after ranks failed")

    async def look_after_all(self) -> None:
        """Write what is heard, then find out who is lost; see `model.watched`."""
        await self.write()
        now = self._now_ms()
        self._watch = model.watched(self._watch, now=now)
        if now >= self._watch.may_lose_from:
            await self.lose(now=now)

    async def write(self) -> None:
        """Write what was heard since it was last written, and let runs go on whose ranks are back."""
        seen = self._presence.take()
        left = sorted(seen)
        try:
            while left:
                async with self._db.pipeline() as tx:
                    part = left[:RANKS_A_STEP]
                    known = await store.lock(tx, part)
                    changed = {key: state for key in part if (state := model.noted(known.get(key), seen[key]))}
                    await _write(tx, changed, known)
                left = left[RANKS_A_STEP:]
        except BaseException:
            self._presence.put_back({key: seen[key] for key in left})
            raise
        run_ids = sorted({run_id for run_id, _ in seen})
        while run_ids:
            async with self._db.pipeline() as tx:
                revived, failed = await store.unsettled(tx, run_ids[:RANKS_A_STEP])
                if revived or failed:
                    await store.lock_runs(tx, [*revived, *failed])
                    await _settle(tx, revived)
                    await _tell_again(tx, failed)
            run_ids = run_ids[RANKS_A_STEP:]

    async def stop(self) -> None:
        """Write what was heard last, if that can be done: a restart is then no loss."""
        with contextlib.suppress(ServiceError):
            await self.write()

    async def lose(self, *, now: int) -> None:
        """Note which ranks are lost, and end runs that have no other ones. One replica does it at a time."""
        while True:
            async with self._db.pipeline() as tx:
                if not await store.claim(tx):
                    return
                seen_before = model.lost_before(now)
                run_ids = await store.silent(tx, seen_before=seen_before, limit=RUNS_A_STEP)
                if run_ids:
                    await store.lock_runs(tx, run_ids)
                    await store.lose(tx, run_ids, seen_before=seen_before)
                    await _settle(tx, run_ids)
            if len(run_ids) < RUNS_A_STEP:
                return

    async def ranks(self, run_id: str, *, max_results: int, page_token: str) -> tuple[list[Progress], str | None]:
        """Return a page of a run's ranks, by rank, and the token of the next one. Raises InvalidArgument."""
        model.check_page_size(max_results)
        query = ["run-ranks", run_id]
        after = self._pages.decode(page_token, query)[0] if page_token else -1
        async with self._db.pipeline(snapshot=True) as tx:
            found = await store.ranks_of(tx, run_id, after=after, limit=max_results + 1)
        has_more = len(found) > max_results
        return found[:max_results], self._pages.encode((found[max_results - 1].rank,), query) if has_more else None

    async def stragglers(
        self, run_id: str, *, min_steps_behind: int | None, min_ms_behind: int | None
    ) -> tuple[list[Progress], int | None]:
        """Return the running ranks that are behind, the last first, and the median step. Raises InvalidArgument."""
        steps = model.check_behind(steps=min_steps_behind, ms=min_ms_behind)
        async with self._db.pipeline(snapshot=True) as tx:
            return await store.stragglers(tx, run_id, steps=steps, ms=min_ms_behind, limit=model.STRAGGLERS_MAX)

    async def summary(
        self, run_id: str, *, key: str, start_step: int | None, end_step: int | None, max_results: int
    ) -> list[RankSummary]:
        """Return a metric across the ranks, by step. Raises InvalidArgument."""
        model.check_page_size(max_results)
        bounds = {
            "step_min": INT64_MIN if start_step is None else start_step,
            "step_max": INT64_MAX if end_step is None else end_step,
        }
        async with self._db.pipeline(snapshot=True) as tx:
            found = await metrics_store.find(tx, [run_id], key)
            if not found:
                return []
            count = await metrics_store.count_points(tx, found[0], **bounds)
            if count > SUMMARY_POINTS_MAX:
                raise InvalidArgument(
                    f"Metric '{key[:100]}' has {count} points between start_step={bounds['step_min']} and "
                    f"end_step={bounds['step_max']}, and at most {SUMMARY_POINTS_MAX} are read: ask for fewer steps."
                )
            points = await metrics_store.all_points(tx, found[0], **bounds)
        # So many take a while, in which others are served.
        return await asyncio.to_thread(summaries.summarize, points, steps_max=max_results)


async def move(tx: Driver, moves: Sequence[Move], *, now: int) -> None:
    """Let ranks start runs, which then follow them, and end their parts, one after the other. The runs are locked."""
    if started := model.joined(moves):
        await store.follow(tx, started)
    known = await store.lock(tx, {(move.run_id, move.rank.rank) for move in moves})
    changed: dict[Key, RankState] = {}
    for each in moves:
        key = each.run_id, each.rank.rank
        changed[key] = model.moved(changed.get(key) or known.get(key), each, now=now)
    await store.put(tx, changed)
    await _settle(tx, sorted({each.run_id for each in moves}))


async def _write(tx: Driver, changed: dict[Key, RankState], known: Collection[Key]) -> None:
    if new := {key: state for key, state in changed.items() if key not in known}:
        await store.add(tx, new)
    if old := {key: state for key, state in changed.items() if key in known}:
        await store.put(tx, old)


async def _tell_again(tx: Driver, run_ids: Collection[str]) -> None:
    """Have locked runs tell why they failed with what their lost ranks had logged, which may come after their end."""
    failures = [
        (run_id, model.failure(ranks))
        for run_id, before, ranks in await store.tallies(tx, run_ids)
        # Somebody else may have given the run another end.
        if model.ending(ranks) == before
    ]
    if failures:
        await store.set_failures(tx, failures)


async def _settle(tx: Driver, run_ids: Iterable[str]) -> None:
    """Give locked runs the status that their ranks make of it."""
    changes = [
        (run_id, *model.ending(ranks), model.failure(ranks))
        for run_id, before, ranks in await store.tallies(tx, list(run_ids))
        if model.ending(ranks) != before
    ]
    if not changes:
        return
    await store.set_statuses(tx, changes)
    if ended := [run_id for run_id, status, _, _ in changes if status != model.RUNNING]:
        # Their chunks are merged once more.
        await metrics_store.enqueue_ended(tx, ended)
