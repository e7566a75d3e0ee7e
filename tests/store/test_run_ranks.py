"""Ranks in the database: they are what the pure rules say, their points keep them, and what is told is right."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelstead.tracking.v1 import ingest_pb2 as pb
from services.common.database import Database
from services.common.errors import InvalidArgument
from services.tracking.ingest.service import Ingest, Progress
from services.tracking.metrics.service import Metrics
from services.tracking.run_ranks import model
from services.tracking.run_ranks.model import Move, Rank, RankState, Seen
from services.tracking.run_ranks.presence import Presence
from services.tracking.run_ranks.service import RunRanks
from services.tracking.sealing.service import Sealing
from tests import ingest
from tests.ingest import Row
from tests.store import factories

_SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
_STARTED = 1_000_000


class Server:
    """A replica of tracking as far as ranks go, with time that is moved by hand."""

    def __init__(self, db: Database, *, window_bytes: int = 4 * 2**20, commit_ms: int = 0) -> None:
        """Each commit takes `commit_ms`."""
        self.now = _STARTED
        self.db = db
        self.ranks = RunRanks(db, pages=factories.PAGES, now_ms=lambda: self.now)
        self.ingest = Ingest(
            db,
            factories.experiments(db),
            self.ranks,
            now_ms=lambda: self.now,
            memory_bytes=64 * 2**20,
            window_bytes=window_bytes,
            session_age_s=1000,
            tell=lambda _: self._pass(commit_ms),
        )

    async def send(
        self, rank: pb.Rank | None, *requests: pb.IngestStreamRequest | pb.Batch | int | Callable[[], Awaitable[None]]
    ) -> list[Progress]:
        """Send heartbeats and batches, which are numbered, by a stream of a new session; after a number of milliseconds
        where there is one, and when what is to be awaited is done.
        """
        sequence = 0

        async def following() -> AsyncIterator[pb.IngestStreamRequest]:
            nonlocal sequence
            for request in requests:
                if isinstance(request, int):
                    self.now += request
                elif isinstance(request, pb.Batch):
                    sequence += 1
                    request.sequence = sequence
                    yield ingest.bringing(request)
                elif isinstance(request, pb.IngestStreamRequest):
                    yield request
                else:
                    await request()

        sender = pb.Session(session_id=ingest.new_id(), epoch=1, rank=rank)
        return [told async for told in self.ingest.stream(ingest.opening(sender), following(), caller="t")]

    def _pass(self, ms: int) -> None:
        self.now += ms

    async def states(self, run_id: str) -> dict[int, str]:
        found, _ = await self.ranks.ranks(run_id, max_results=1000, page_token="")
        return {rank.rank: rank.state for rank in found}

    async def pass_time(self, ms: int, *, hearing: Sequence[tuple[pb.Rank, str]] = ()) -> None:
        """Let the replica work for a while, in which it hears of some ranks."""
        until = self.now + ms
        while self.now < until:
            self.now += model.PERIOD_MS
            for rank, run_id in hearing:
                await self.send(rank, _heartbeat(run_id))
            await self.ranks.look_after_all()


@pytest.fixture
def server(db: Database) -> Server:
    return Server(db)


@pytest.fixture
async def run_id(db: Database) -> str:
    return await factories.new_run(db, await factories.new_experiment(db))


def _rank(number: int, world_size: int = 4) -> pb.Rank:
    return pb.Rank(rank=number, world_size=world_size, node=f"node-{number}")


def _heartbeat(*run_ids: str) -> pb.IngestStreamRequest:
    return pb.IngestStreamRequest(heartbeat=pb.Heartbeat(run_ids=run_ids))


def _start(run_id: str) -> pb.Batch:
    return pb.Batch(run_id=run_id, start=pb.StartRun(start_time=5, experiment_name="ranks"))


def _end(run_id: str, status: "pb.EndRun.Status.ValueType" = pb.EndRun.FINISHED, end_time: int = 9) -> pb.Batch:
    return pb.Batch(run_id=run_id, end=pb.EndRun(status=status, end_time=end_time))


async def _status(db: Database, run_id: str) -> tuple[str, int | None, str | None]:
    run = await factories.runs(db).get(run_id)
    return run.info.status, run.info.end_time, run.data.tags.get(model.FAILURE_TAG)


async def test_a_process_that_only_helps_makes_the_run_and_takes_no_part(server: Server) -> None:
    run_id = ingest.new_id()
    helping = _start(run_id)
    helping.start.takes_no_part = True

    await server.send(_rank(0, 1), helping)
    assert await server.states(run_id) == {}

    await server.send(_rank(0, 1), _start(run_id))
    assert await server.states(run_id) == {0: "RUNNING"}
    await server.send(_rank(0, 1), _end(run_id, pb.EndRun.FINISHED, server.now))
    # What a loader has left comes late, and brings nobody back.
    await server.send(_rank(0, 1), helping)
    assert await server.states(run_id) == {0: "FINISHED"}


async def test_ranks_that_start_a_run_at_once_start_one_and_it_ends_with_the_last_of_them(server: Server) -> None:
    run_id = ingest.new_id()

    await asyncio.gather(*[server.send(_rank(number, 64), _start(run_id)) for number in range(64)])
    running = await server.states(run_id)
    await asyncio.gather(*[server.send(_rank(number, 64), _end(run_id, end_time=number)) for number in range(63)])
    before = await _status(server.db, run_id)
    await server.send(_rank(63, 64), _end(run_id, end_time=17))

    assert running == dict.fromkeys(range(64), "RUNNING")
    assert before == ("RUNNING", None, None)
    assert await _status(server.db, run_id) == ("FINISHED", 62, None)
    assert await server.states(run_id) == dict.fromkeys(range(64), "FINISHED")


async def test_run_of_which_a_rank_failed_has_failed_and_goes_on_when_that_rank_is_back(server: Server) -> None:
    run_id = ingest.new_id()
    for number in range(2):
        await server.send(_rank(number, 2), _start(run_id))

    await server.send(_rank(1, 2), _end(run_id, pb.EndRun.FAILED, end_time=7))
    await server.send(_rank(0, 2), _end(run_id, end_time=6))
    failed = await _status(server.db, run_id)
    await server.send(_rank(1, 2), _start(run_id))
    again = await _status(server.db, run_id)
    await server.send(_rank(1, 2), _end(run_id, end_time=20))

    assert failed == ("FAILED", 7, None)
    assert again == ("RUNNING", None, None)
    assert await _status(server.db, run_id) == ("FINISHED", 20, None)


async def test_elastic_job_that_goes_on_with_fewer_ranks_does_not_fail_for_those_it_left_behind(server: Server) -> None:
    run_id = ingest.new_id()
    for number in range(3):
        await server.send(_rank(number, 3), _start(run_id))
    server.now += 1
    for number in range(2):
        await server.send(_rank(number, 2), _start(run_id))

    hearing = [(_rank(number, 2), run_id) for number in range(2)]
    await server.pass_time(2 * model.LEASE_MS + 8_000, hearing=hearing)
    lost = await server.states(run_id)
    for number in range(2):
        await server.send(_rank(number, 2), _end(run_id))

    assert lost == {0: "RUNNING", 1: "RUNNING", 2: "LOST"}
    assert (await _status(server.db, run_id))[0] == "FINISHED"


async def test_run_whose_ranks_are_all_lost_has_failed_with_its_last_step_until_one_is_back(server: Server) -> None:
    run_id = ingest.new_id()
    for number in range(2):
        points = ingest.batch(1, run_id, ingest.series("m", 0, 10 + number))
        await server.send(_rank(number, 2), _start(run_id), points, _heartbeat(run_id))

    await server.pass_time(2 * model.LEASE_MS + 8_000)
    states, failed = await server.states(run_id), await _status(server.db, run_id)
    await server.send(_rank(0, 2), _heartbeat(run_id))
    await server.ranks.write()

    assert states == {0: "LOST", 1: "LOST"}
    assert failed == ("FAILED", _STARTED, "2 of 2 ranks were lost; the last step is 10")
    assert await _status(server.db, run_id) == ("RUNNING", None, None)
    assert await server.states(run_id) == {0: "RUNNING", 1: "LOST"}


async def test_end_that_comes_late_from_a_lost_rank_is_how_the_run_ended(server: Server) -> None:
    run_id = ingest.new_id()
    await server.send(_rank(0, 1), _start(run_id))
    await server.pass_time(2 * model.LEASE_MS + 8_000)

    await server.send(_rank(0, 1), _end(run_id, end_time=30))

    assert await _status(server.db, run_id) == ("FINISHED", 30, None)


async def test_end_that_somebody_has_given_the_run_stays_whatever_its_ranks_do(server: Server) -> None:
    run_id = ingest.new_id()
    await server.send(_rank(0, 2), _start(run_id), _heartbeat(run_id))
    await server.send(_rank(1, 2), _start(run_id))

    await factories.runs(server.db).update(run_id, status="KILLED", end_time=3, run_name="")
    await server.send(_rank(0, 2), _end(run_id))
    await server.pass_time(2 * model.LEASE_MS + 8_000)

    assert await _status(server.db, run_id) == ("KILLED", 3, None)
    assert await server.states(run_id) == {0: "FINISHED", 1: "LOST"}


async def test_ranks_of_a_run_that_somebody_else_began_join_and_leave_and_do_not_end_it(
    server: Server, run_id: str
) -> None:
    await server.send(_rank(0, 2), _heartbeat(run_id))
    await server.send(_rank(1, 2), _heartbeat(run_id))
    await server.ranks.write()
    joined = await server.states(run_id)
    await server.send(_rank(0, 2), _end(run_id))
    await server.pass_time(2 * model.LEASE_MS + 8_000)

    assert joined == {0: "RUNNING", 1: "RUNNING"}
    assert await server.states(run_id) == {0: "FINISHED", 1: "LOST"}
    assert (await _status(server.db, run_id))[0] == "RUNNING"


async def test_batches_of_a_rank_that_said_it_lives_keep_its_lease_and_those_of_a_dead_one_do_not(
    server: Server,
) -> None:
    run_ids = [ingest.new_id(), ingest.new_id()]
    for run_id in run_ids:
        await server.send(_rank(0, 1), _start(run_id))
    await server.pass_time(model.LEASE_MS)

    points = [ingest.batch(1, run_id, ingest.series("m", 0, 3)) for run_id in run_ids]
    await server.send(_rank(0, 1), points[1])
    await server.send(_rank(0, 1), _heartbeat(run_ids[0]), 8_000, points[0])
    await server.pass_time(model.LEASE_MS - 6_000)

    assert await server.states(run_ids[0]) == {0: "RUNNING"}
    assert await server.states(run_ids[1]) == {0: "LOST"}


async def test_a_rank_is_heard_of_while_its_batches_wait_for_room_although_they_came_together(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(db, window_bytes=1, commit_ms=1_000)
    heard_at = list[int]()
    monkeypatch.setattr(server.ranks, "heard", lambda *_: heard_at.append(server.now))
    batches = [ingest.batch(number, run_id, ingest.series("m", number, 1)) for number in range(1, 21)]

    await server.send(_rank(0), _heartbeat(run_id), ingest.bringing(*batches))

    assert server.now == _STARTED + 20_000
    assert max(later - earlier for earlier, later in itertools.pairwise([*heard_at, server.now])) <= 2_000


async def test_run_that_has_ended_is_not_brought_back_by_what_its_rank_logs_to_the_next_one(server: Server) -> None:
    first, second = ingest.new_id(), ingest.new_id()

    async def has_ended() -> None:
        async with asyncio.timeout(60):
            while await server.states(first) != {0: "FINISHED"}:  # noqa: ASYNC110 -- nothing tells of it
                await asyncio.sleep(0.01)

    first_job = (_start(first), _heartbeat(first), _end(first), has_ended)
    await server.send(_rank(0, 1), *first_job, 1_000, _start(second), _heartbeat(second))
    await server.pass_time(2 * model.LEASE_MS + 8_000, hearing=[(_rank(0, 1), second)])

    assert await _status(server.db, first) == ("FINISHED", 9, None)
    assert await server.states(first) == {0: "FINISHED"}
    assert await server.states(second) == {0: "RUNNING"}


async def test_a_rank_that_has_ended_is_not_brought_back_by_a_replica_whose_clock_is_ahead(server: Server) -> None:
    ahead, run_id, rank = Server(server.db), ingest.new_id(), pb.Rank(rank=0, world_size=1, node="n")
    await server.send(rank, _start(run_id))
    ahead.now = server.now + 1_500
    await ahead.send(rank, _heartbeat(run_id))

    server.now += 100
    await server.send(rank, _end(run_id, pb.EndRun.FINISHED, server.now))
    await ahead.ranks.write()

    assert await server.states(run_id) == {0: "FINISHED"}


async def test_nobody_is_lost_for_a_pause_of_the_server(server: Server) -> None:
    run_id = ingest.new_id()
    await server.send(_rank(0, 1), _start(run_id), _heartbeat(run_id))
    await server.pass_time(2 * model.LEASE_MS, hearing=[(_rank(0, 1), run_id)])

    server.now += 300_000
    await server.ranks.look_after_all()

    assert await server.states(run_id) == {0: "RUNNING"}


async def test_server_tells_ranks_how_often_it_wants_a_heartbeat_and_others_not(server: Server, run_id: str) -> None:
    [opened] = await server.send(_rank(0))
    [plain] = await server.send(None)

    assert (opened.heartbeat_period_s, plain.heartbeat_period_s) == (model.HEARTBEAT_S, 0)


@pytest.mark.parametrize(
    ("rank", "named"),
    [
        (pb.Rank(rank=4, world_size=4), "'session.rank.rank'"),
        (pb.Rank(rank=-1, world_size=4), "'session.rank.rank'"),
        (pb.Rank(rank=0, world_size=1_000_001), "'session.rank.world_size'"),
        (pb.Rank(rank=0, world_size=0), "'session.rank.world_size'"),
        (pb.Rank(rank=0, local_rank=-1), "'session.rank.local_rank'"),
        (pb.Rank(rank=0, node="n" * 257), "'session.rank.node'"),
        (pb.Rank(rank=0, node="n\0"), "'session.rank.node'"),
    ],
)
async def test_impossible_rank_is_refused_by_name(server: Server, rank: pb.Rank, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        await server.send(rank)


@pytest.mark.parametrize(
    ("rank", "run_ids", "told"),
    [(None, ["a"], "only ranks"), (_rank(0), ["a"] * 101, "at most 100"), (_rank(0), ["a b"], "run_id")],
)
async def test_impossible_heartbeat_ends_the_stream(
    server: Server, rank: pb.Rank | None, run_ids: list[str], told: str
) -> None:
    with pytest.raises(InvalidArgument, match=told):
        await server.send(rank, _heartbeat(*run_ids))


async def test_heartbeat_of_an_unknown_run_is_forgotten(server: Server) -> None:
    await server.send(_rank(0), _heartbeat("unknown"))

    await server.ranks.write()

    assert await server.states("unknown") == {}


_EVENT = st.one_of(
    st.tuples(st.just("start"), st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.sampled_from(["FINISHED", "FAILED", "KILLED"]), st.integers(0, 2), st.just(3)),
    st.tuples(st.just("heard"), st.integers(0, 2), st.just(3)),
    st.tuples(st.just("logged"), st.integers(0, 2), st.just(3)),
    st.tuples(st.just("lose"), st.just(0), st.just(3)),
)


@_SLOW
@given(st.lists(_EVENT, max_size=12))
# What a lost rank has left comes after its run has failed.
@example([("start", 0, 1), ("lose", 0, 3), ("start", 1, 2), ("lose", 0, 3), ("FINISHED", 1, 3), ("logged", 0, 3)])
async def test_database_has_what_the_rules_say(db: Database, events: list[tuple[str, int, int]]) -> None:
    server, run_id = Server(db), ingest.new_id()
    await server.send(None, _start(run_id))
    known: dict[int, RankState] = {}
    follows, presence = False, Presence()

    for kind, number, world_size in events:
        server.now += 9_000
        rank = Rank(rank=min(number, world_size - 1), world_size=world_size, node="n", local_rank=None)
        wire, seen = pb.Rank(rank=rank.rank, world_size=world_size, node="n"), None
        if kind == "heard":
            await server.send(wire, _heartbeat(run_id))
            seen = Seen(rank=rank, heard_timestamp=server.now)
        elif kind == "logged":
            await server.send(wire, ingest.batch(1, run_id, ingest.series("m", server.now, 1)))
            seen = Seen(rank=rank, step=server.now, point_timestamp=1_000 + server.now)
        elif kind == "lose":
            await server.ranks.lose(now=server.now)
            known = {key: _as_lost(state, server.now) for key, state in known.items()}
        else:
            state = "RUNNING" if kind == "start" else kind
            follows = follows or kind == "start"
            move = Move(run_id=run_id, rank=rank, state=state, end_timestamp=None if kind == "start" else server.now)
            ends = {"FINISHED": pb.EndRun.FINISHED, "FAILED": pb.EndRun.FAILED, "KILLED": pb.EndRun.KILLED}
            await server.send(wire, _start(run_id) if kind == "start" else _end(run_id, ends[kind], server.now))
            known[rank.rank] = model.moved(known.get(rank.rank), move, now=server.now)
        await server.ranks.write()
        if seen and (noted := model.noted(known.get(rank.rank), seen)):
            known[rank.rank] = noted

    found, _ = await server.ranks.ranks(run_id, max_results=10, page_token="")
    names = [name for name in RankState.__slots__ if name not in ("has_started", "end_timestamp")]
    assert [[getattr(rank, name) for name in names] for rank in found] == [
        [getattr(known[number], name) for name in names] for number in sorted(known)
    ]
    tally = model.tally(list(known.values()))
    expected = (*model.ending(tally), model.failure(tally)) if follows and tally else ("RUNNING", None, None)
    assert await _status(db, run_id) == expected
    assert not presence.take()


def _as_lost(state: RankState, now: int) -> RankState:
    fields = {name: getattr(state, name) for name in RankState.__slots__}
    return RankState(**fields | {"state": "LOST"}) if model.is_lost(state, now=now) else state


async def test_pages_hold_every_rank_once(server: Server) -> None:
    run_id = ingest.new_id()
    await asyncio.gather(*[server.send(_rank(number, 7), _start(run_id)) for number in range(7)])

    numbers, token = list[int](), ""
    while True:
        page, next_token = await server.ranks.ranks(run_id, max_results=3, page_token=token)
        numbers += [rank.rank for rank in page]
        if next_token is None:
            break
        token = next_token

    assert numbers == list(range(7))


async def test_stragglers_are_the_running_ranks_behind_the_median_by_steps_or_time(server: Server) -> None:
    run_id = ingest.new_id()
    newest = {0: (100, 9_000), 1: (100, 9_000), 2: (97, 9_000), 3: (40, 9_000), 4: (101, 2_000), 5: (1, 1)}
    for number, (step, timestamp) in newest.items():
        points = ingest.batch(1, run_id, [("m", 0.5, timestamp, step), ("system/cpu", 1.0, 99_999, 5_000)])
        await server.send(_rank(number, 6), _start(run_id), points)
    await server.send(_rank(5, 6), _end(run_id))
    await server.ranks.write()

    async def behind(**least: int) -> list[tuple[int, int | None]]:
        found, median = await server.ranks.stragglers(
            run_id, **{"min_steps_behind": None, "min_ms_behind": None} | least
        )
        assert median == 100
        return [(rank.rank, rank.steps_behind) for rank in found]

    assert await behind() == [(3, 60)]
    assert await behind(min_steps_behind=3) == [(3, 60), (2, 3)]
    assert await behind(min_ms_behind=7_000) == [(4, 0)]
    assert await behind(min_ms_behind=7_000, min_steps_behind=60) == [(3, 60), (4, 0)]
    with pytest.raises(InvalidArgument, match="'min_steps_behind'"):
        await behind(min_steps_behind=0)


async def test_steps_at_both_ends_of_64_bits_are_compared(server: Server) -> None:
    run_id = ingest.new_id()
    for number, step in enumerate((-(2**63), 2**63 - 1, 2**63 - 1)):
        await server.send(_rank(number, 3), _start(run_id), ingest.batch(1, run_id, [("m", 1.0, 1, step)]))
    await server.ranks.write()

    found, median = await server.ranks.stragglers(run_id, min_steps_behind=None, min_ms_behind=None)

    assert ([(rank.rank, rank.steps_behind) for rank in found], median) == ([(0, 2**63 - 1)], 2**63 - 1)


_POINT = st.tuples(
    st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.sampled_from([math.nan, -1.0, 0.0, 2.5, 1e308])
)


@_SLOW
@given(st.lists(_POINT, max_size=40), st.integers(1, 10), st.booleans())
async def test_summary_is_what_it_is_by_hand(
    db: Database, points: list[tuple[int, int, int, float]], size: int, is_sealed: bool
) -> None:
    server, run_id = Server(db), ingest.new_id()
    await server.send(None, _start(run_id), ingest.batch(1, run_id, [("m", 7.0, 1, 1)]))
    for start in range(0, len(points), size):
        for number in range(3):
            rows = [("m", v, t, s) for rank, s, t, v in points[start : start + size] if rank == number]
            if rows:
                await server.send(_rank(number), ingest.batch(1, run_id, rows))
    if is_sealed:
        await factories.runs(db).update(run_id, status="FINISHED", end_time=1, run_name="")
        await Sealing(db).look_after_all()

    found = await server.ranks.summary(run_id, key="m", start_step=None, end_step=None, max_results=100)

    assert [_shown(step) for step in found] == _by_hand(points)


def _shown(step: Any) -> tuple[Any, ...]:
    mean = None if step.mean is None else pytest.approx(step.mean, rel=1e-9)
    return step.step, step.count, step.nan_count, step.min, mean, step.max, step.min_rank, step.max_rank


def _by_hand(points: Sequence[tuple[int, int, int, float]]) -> list[tuple[Any, ...]]:
    latest: dict[tuple[int, int], tuple[int, float, bool, float]] = {}
    for rank, step, timestamp, value in points:
        key = (timestamp, 0.0 if math.isnan(value) else value, math.isnan(value), value)
        latest[step, rank] = max(latest.get((step, rank), (-1, 0.0, False, 0.0)), key, key=lambda entry: entry[:3])
    rows: list[tuple[Any, ...]] = []
    for step in sorted({step for step, _ in latest}):
        values = {rank: entry[3] for (at, rank), entry in sorted(latest.items()) if at == step}
        numbers = {rank: value for rank, value in values.items() if not math.isnan(value)}
        if not numbers:
            rows.append((step, len(values), len(values), None, None, None, None, None))
            continue
        low, high = min(numbers.values()), max(numbers.values())
        mean = sum(value / len(numbers) for value in numbers.values())
        low_rank = next(rank for rank, value in numbers.items() if value == low)
        high_rank = next(rank for rank, value in numbers.items() if value == high)
        rows.append((step, len(values), len(values) - len(numbers), low, mean, high, low_rank, high_rank))
    return rows


async def test_summary_keeps_to_its_steps_and_takes_an_even_sample(server: Server) -> None:
    run_id = ingest.new_id()
    for number in range(2):
        rows = [("m", float(number), step, step) for step in range(100)]
        await server.send(_rank(number), _start(run_id), ingest.batch(1, run_id, rows))

    within = await server.ranks.summary(run_id, key="m", start_step=10, end_step=12, max_results=100)
    sample = await server.ranks.summary(run_id, key="m", start_step=None, end_step=None, max_results=5)

    assert [step.step for step in within] == [10, 11, 12]
    assert [step.step for step in sample] == [0, 20, 40, 60, 99]
    assert {(step.count, step.min, step.mean, step.max) for step in within + sample} == {(2, 0.0, 0.5, 1.0)}
    with pytest.raises(InvalidArgument, match="'max_results'"):
        await server.ranks.summary(run_id, key="m", start_step=None, end_step=None, max_results=10_001)


async def _history(db: Database, run_id: str, page_size: int | None) -> list[tuple[int, int, float]]:
    metrics, rows, token = Metrics(db=db, pages=factories.PAGES), list[tuple[int, int, float]](), ""
    while True:
        next_token = None
        async for block in metrics.history(run_id=run_id, key="m", max_results=page_size, page_token=token):
            points = block.points
            rows += zip(points.timestamps.tolist(), points.steps.tolist(), points.values.tolist(), strict=True)
            next_token = block.next_page_token
        if not next_token:
            return rows
        token = next_token


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("is_sealed", [False, True])
async def test_mlflow_sees_equal_points_of_several_ranks_once(server: Server, size: int, is_sealed: bool) -> None:
    run_id = ingest.new_id()
    rows: list[Row] = [("m", float(step % 3), step // 2, step) for step in range(80)]
    for start in range(0, 80, size):
        for number in range(3):
            mine = [*rows[start : start + size], ("m", 50.0 + number, start, start)]
            await server.send(_rank(number), _start(run_id), ingest.batch(1, run_id, mine))
    if is_sealed:
        for number in range(3):
            await server.send(_rank(number), _end(run_id))
        await Sealing(server.db).look_after_all()
    own = [(start, start, 50.0 + number) for start in range(0, 80, size) for number in range(3)]
    expected = sorted([(timestamp, step, value) for _, value, timestamp, step in rows] + own)

    assert await _history(server.db, run_id, None) == expected
    assert await _history(server.db, run_id, 7) == expected
    sample = [
        step
        async for block in Metrics(db=server.db, pages=factories.PAGES).sample(
            run_ids=[run_id], key="m", start_step=None, end_step=None, max_results=2_500
        )
        for step in block.points.steps.tolist()
    ]
    assert sample == sorted(step for _, step, _ in expected)
    summary = await server.ranks.summary(run_id, key="m", start_step=None, end_step=None, max_results=1000)
    assert [step.count for step in summary] == [3] * 80


async def test_points_of_many_ranks_take_at_most_12_bytes_when_they_are_sealed(server: Server) -> None:
    run_id = ingest.new_id()
    for number in range(16):
        rows = [("m", math.sin(step + number), 1_700_000_000_000 + 250 * step + number, step) for step in range(2000)]
        batches = [ingest.batch(1, run_id, rows[start : start + 100]) for start in range(0, 2000, 100)]
        await server.send(_rank(number, 16), _start(run_id), *batches)
    for number in range(16):
        await server.send(_rank(number, 16), _end(run_id))

    await Sealing(server.db).look_after_all()

    async with server.db.pipeline() as tx:
        answer = await tx.execute(
            "SELECT sum(pg_column_size(c.*)), sum(c.point_count) FROM metric_chunks AS c"
            " JOIN metrics AS m USING (metric_id) WHERE m.run_id = %s",
            [run_id],
        )
        row = await answer.fetchone()
    assert row is not None
    assert row[1] == 32_000
    assert row[0] / row[1] <= 12
