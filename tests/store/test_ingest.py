"""A batch is stored once, whole or not at all, and as log-batch would store it."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelstead.tracking.v1 import ingest_pb2 as pb
from services.common.database import Database
from services.common.errors import Conflict, InvalidArgument, ResourceExhausted, ServiceError
from services.tracking.ingest.service import Ingest, Progress
from services.tracking.metrics.service import Metrics
from services.tracking.run_logs.service import RunLogs
from services.tracking.run_ranks.service import RunRanks
from tests import ingest
from tests.ingest import Row
from tests.store import factories

_KEYS = ("loss", "a/b", "acc uracy")
_ROW = st.tuples(
    st.sampled_from(_KEYS),
    st.sampled_from([math.nan, -1.0, -0.0, 0.0, 0.1, 2.5, math.inf, -math.inf]),
    st.integers(0, 4),
    st.integers(-2, 3),
)
_ROWS = st.lists(_ROW, max_size=40)
_SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def _ingest(db: Database, *, now_ms: int = 1, **bounds: int) -> Ingest:
    given = {"memory_bytes": 64 * 2**20, "window_bytes": 4 * 2**20, "session_age_s": 1000} | bounds
    ranks = RunRanks(db, pages=factories.PAGES, now_ms=lambda: now_ms)
    return Ingest(db, factories.experiments(db), ranks, now_ms=lambda: now_ms, **given)


@pytest.fixture
async def run_id(db: Database) -> str:
    return await factories.new_run(db, await factories.new_experiment(db))


async def _history(db: Database, run_id: str, key: str) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    blocks = Metrics(db=db, pages=factories.PAGES).history(run_id=run_id, key=key, max_results=None, page_token="")
    async for block in blocks:
        points = block.points
        rows = zip(points.timestamps.tolist(), points.steps.tolist(), map(repr, points.values.tolist()), strict=True)
        found += rows
    return found


async def _state(db: Database, run_id: str) -> Any:
    """Return all that can be seen of what a run logged; NaN equals itself."""
    run = await factories.runs(db).get(run_id)
    latest = run.data.metrics
    shown = list(zip(latest.key, map(repr, latest.value), latest.timestamp, latest.step, strict=True)) if latest else []
    return shown, run.data.params, run.data.tags, run.info.run_name, [await _history(db, run_id, key) for key in _KEYS]


async def _stream(
    ingesting: Ingest,
    sender: pb.Session,
    batches: Iterable[pb.Batch],
    *,
    acknowledged: int = 0,
    batches_a_request: int = 1,
) -> list[Progress]:
    async def following() -> AsyncIterator[pb.IngestStreamRequest]:
        rest = iter(batches)
        while together := list(islice(rest, batches_a_request)):
            yield ingest.bringing(*together)

    opening = ingest.opening(sender, acknowledged=acknowledged)
    return [progress async for progress in ingesting.stream(opening, following(), caller="tester")]


@_SLOW
@given(st.lists(_ROWS, min_size=1, max_size=6), st.integers(1, 6))
async def test_what_is_streamed_is_what_log_batch_stores(
    db: Database, batches: list[list[Row]], batches_a_request: int
) -> None:
    experiment_id = await factories.new_experiment(db)
    tags = {"mlflow.runName": "named"}
    streamed, logged = [await factories.new_run(db, experiment_id) for _ in range(2)]
    sent = [
        ingest.batch(number, streamed, rows, params={f"p{number}": "x" * 7000}, tags=tags)
        for number, rows in enumerate(batches, 1)
    ]

    progress = await _stream(_ingest(db), ingest.session(), sent, batches_a_request=batches_a_request)
    logs = RunLogs(db)
    for batch, rows in zip(sent, batches, strict=True):
        await logs.log(factories.batch(logged, metrics=rows, params=batch.params, tags=tags))

    assert progress[-1].acknowledged_sequence == len(batches)
    assert await _state(db, streamed) == await _state(db, logged)


class _Client:
    """A client that loses answers, and its connection, and starts anew under the next epoch."""

    def __init__(self, db: Database, run_id: str) -> None:
        self.db = db
        self.run_id = run_id
        self.session_id = ingest.new_id()
        self.epoch = 1
        self.stored = 0
        self._server = _ingest(db)

    async def send(self, numbers: Sequence[int]) -> list[ServiceError | None]:
        """Send batches at once, each by its own call; return what each met."""
        sender = ingest.session(self.session_id, epoch=self.epoch)
        calls = [
            self._server.one(sender, ingest.batch(number, self.run_id, ingest.series("m", number, 1)), caller="t")
            for number in numbers
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        return [outcome if isinstance(outcome, ServiceError) else None for outcome in outcomes]

    async def crash(self, numbers: Sequence[int], turns: int) -> None:
        """Send batches and go away after so many turns of the event loop; the server forgets what it held."""
        sending = asyncio.create_task(self.send(numbers))
        for _ in range(turns):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        self._server = _ingest(self.db)

    async def resume(self) -> int:
        self.epoch += 1
        [opened] = await _stream(self._server, ingest.session(self.session_id, epoch=self.epoch), [])
        return opened.acknowledged_sequence


_STEP = st.one_of(
    st.tuples(st.just("send"), st.lists(st.integers(-3, 4), min_size=1, max_size=6)),
    st.tuples(st.just("crash"), st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 60)),
    st.tuples(st.just("resume")),
    st.tuples(st.just("impostor")),
)


@_SLOW
@given(st.lists(_STEP, max_size=12))
async def test_each_batch_is_stored_once_however_it_comes(db: Database, steps: list[tuple[Any, ...]]) -> None:
    client = _Client(db, await factories.new_run(db, await factories.new_experiment(db)))

    for kind, *given_ in steps:
        if kind == "send":
            # Relative to what is stored: 1 is the next one, less came before, more leaves a gap.
            numbers = [max(1, client.stored + offset) for offset in given_[0]]
            for number, outcome in zip(numbers, await client.send(numbers), strict=True):
                if number > client.stored + 1:
                    assert isinstance(outcome, Conflict)
                else:
                    assert outcome is None
                    client.stored = max(client.stored, number)
        elif kind == "crash":
            await client.crash([client.stored + 1 + offset for offset in sorted(set(given_[0]))], given_[1])
            client.stored = max(client.stored, await client.resume())
        elif kind == "resume":
            assert await client.resume() == client.stored
        else:
            client.epoch -= 1
            if client.epoch:
                assert all(isinstance(outcome, Conflict) for outcome in await client.send([client.stored + 1]))
            client.epoch += 1
            await client.resume()

    expected = [(1_000 + number, number, repr(float(number))) for number in range(1, client.stored + 1)]
    assert await _history(db, client.run_id, "m") == expected
    run = await factories.runs(db).get(client.run_id)
    assert (run.data.metrics.key if run.data.metrics else []) == (["m"] if client.stored else [])
    assert await _point_count(db, client.run_id) == client.stored


async def _point_count(db: Database, run_id: str) -> int:
    async with db.pipeline() as tx:
        answer = await tx.execute("SELECT coalesce(sum(point_count), 0)::int FROM metrics WHERE run_id = %s", [run_id])
        [count] = await answer.fetchone() or [0]
    return int(count)


async def test_equal_points_in_two_batches_are_both_taken_in(db: Database, run_id: str) -> None:
    rows = ingest.series("m", 1, 3)

    await _stream(_ingest(db), ingest.session(), [ingest.batch(1, run_id, rows), ingest.batch(2, run_id, rows)])

    assert await _point_count(db, run_id) == 6


async def test_many_sessions_share_a_transaction_and_keep_their_order(db: Database, run_id: str) -> None:
    server = _ingest(db)
    other = await factories.new_run(db, await factories.new_experiment(db))

    def batches(key: str) -> list[pb.Batch]:
        rows = [(key, float(number), 5, 5) for number in range(30)]
        return [ingest.batch(number + 1, (run_id, other)[number % 2], [row]) for number, row in enumerate(rows)]

    answers = await asyncio.gather(
        *(_stream(server, ingest.session(), batches(f"k{session}")) for session in range(20))
    )

    assert all(progress[-1].acknowledged_sequence == 30 for progress in answers)
    assert await _point_count(db, run_id) == await _point_count(db, other) == 300


def _bad(**changes: Any) -> pb.Batch:
    batch = ingest.batch(1, "r", ingest.series("m", 1, 3))
    for name, value in changes.items():
        target, _, field = name.rpartition("__")
        where: Any = getattr(batch, target) if target else batch
        if isinstance(value, list):
            del getattr(where, field)[:]
            getattr(where, field).extend(value)
        else:
            setattr(where, field, value)
    return batch


@pytest.mark.parametrize("batches_a_request", [1, 2])
@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (_bad(points__keys=["bad key!"]), r'Invalid value "bad key!" for parameter \'points.keys\[0\]\' supplied'),
        (_bad(points__keys=["k" * 251]), r"'points.keys\[0\]' exceeds the maximum length of 250"),
        (_bad(points__keys=["m", "m"], points__counts=[1, 2]), "Invalid value 'm' for parameter 'points.keys'"),
        (_bad(points__counts=[3, 1]), r"Invalid value \[3, 1\] for parameter 'points.counts'"),
        (_bad(points__counts=[0]), r"Invalid value \[0\] for parameter 'points.counts'"),
        (_bad(points__steps=b"x"), "parameter 'points.steps' supplied: 24 bytes are expected for 3 points, .* 1"),
        (_bad(points__counts=[100_001]), "at most 100000 points. Got 100001 points"),
        (
            ingest.batch(1, "r", [("m", 1.0, 5, 1), ("n", 2.5, 5, 1), ("n", 3.5, -6, 2)]),
            r"Invalid value -6 for parameter 'points.timestamps\[2\]' supplied: metric 'n' \(value=3.5\)",
        ),
        (ingest.batch(1, "bad id"), "Invalid value \"bad id\" for parameter 'run_id'"),
        (ingest.batch(1, "r", params={"p": "a\0b"}), r"'params.p' cannot contain NUL"),
        (ingest.batch(1, "r", tags={"t!": ""}), r'Invalid value "t!" for parameter \'tags.key\''),
        (ingest.batch(1, "r", params={str(n): "" for n in range(1001)}), "at most 1000 params. Got 1001"),
        (ingest.batch(1, "r", **ingest.starting()), "Invalid value 'r' for parameter 'run_id'"),
        (
            ingest.batch(1, "0" * 32, **ingest.starting(experiment_id="7", experiment_name="e")),
            "Invalid value 'e' for parameter 'start.experiment_name' supplied: 'start.experiment_id' is 7",
        ),
        (ingest.batch(1, "0" * 32, **ingest.starting(experiment_id="x")), "Invalid experiment ID 'x'"),
        (ingest.batch(1, "0" * 32, **ingest.starting(experiment_id="987654321")), "No Experiment with id=987654321"),
        (ingest.batch(1, "r", end=pb.EndRun.FromString(b"\x08\x63")), "Invalid value 99 for parameter 'end.status'"),
        (ingest.batch(1, "r"), "Run with id=r not found"),
    ],
)
async def test_bad_batch_is_rejected_with_its_field_and_value_and_holds_up_nothing(
    db: Database, run_id: str, batch: pb.Batch, message: str, batches_a_request: int
) -> None:
    sent = [batch, ingest.batch(2, run_id, ingest.series("m", 1, 1))]
    progress = await _stream(_ingest(db), ingest.session(), sent, batches_a_request=batches_a_request)

    [rejection] = [rejection for told in progress for rejection in told.rejections]
    assert progress[-1].acknowledged_sequence == 2
    assert rejection.sequence == 1
    with pytest.raises(InvalidArgument, match=message):
        raise InvalidArgument(rejection.message)
    assert await _point_count(db, run_id) == 1


async def test_rejected_batch_leaves_nothing(db: Database, run_id: str) -> None:
    server, sender = _ingest(db), ingest.session()
    await server.one(sender, ingest.batch(1, run_id, params={"p": "1"}), caller="t")

    answer = await server.one(
        sender,
        ingest.batch(
            2,
            run_id,
            ingest.series("m", 1, 1),
            params={"new": "x", "p": "2"},
            tags={"t": "x"},
            end=pb.EndRun(end_time=5),
        ),
        caller="t",
    )

    run = await factories.runs(db).get(run_id)
    assert answer.acknowledged_sequence == 2
    assert answer.rejection is not None
    assert "Changing param values is not allowed" in answer.rejection.message
    assert (run.data.params, run.data.metrics, set(run.data.tags)) == ({"p": "1"}, None, {"mlflow.runName"})
    assert run.info.status == "RUNNING"


async def test_rejection_is_told_until_the_client_knows_it(db: Database, run_id: str) -> None:
    server, sender = _ingest(db), ingest.session()
    bad = ingest.batch(1, "no-such-run")
    first = await server.one(sender, bad, caller="t")

    again = await server.one(sender, bad, caller="t")
    [opened] = await _stream(server, sender, [])
    [known] = await _stream(server, sender, [], acknowledged=1)
    [later] = await _stream(server, sender, [])

    assert first.rejection is not None
    assert first.rejection.reason == "RESOURCE_DOES_NOT_EXIST"
    assert again.rejection == first.rejection
    assert opened.rejections == [first.rejection]
    assert known.rejections == later.rejections == []
    assert later.acknowledged_sequence == 1


@pytest.mark.parametrize("bad", [_bad(points__counts=[0]), ingest.batch(1, "no-such-run")])
async def test_batch_that_comes_twice_at_once_is_rejected_twice(db: Database, bad: pb.Batch) -> None:
    server, sender = _ingest(db), ingest.session()

    first, again = await asyncio.gather(server.one(sender, bad, caller="t"), server.one(sender, bad, caller="t"))

    assert first.rejection is not None
    assert again == first


async def test_deleted_run_takes_nothing(db: Database, run_id: str) -> None:
    await factories.runs(db).delete(run_id)

    answer = await _ingest(db).one(ingest.session(), ingest.batch(1, run_id, ingest.series("m", 1, 1)), caller="t")

    assert answer.rejection is not None
    assert "must be in the 'active' state" in answer.rejection.message


async def test_run_begins_and_ends_with_its_batches(db: Database) -> None:
    run_id, name = ingest.new_id(), ingest.new_id()
    start = pb.StartRun(experiment_name=name, run_name="mine", start_time=7)
    batches = [
        ingest.batch(1, run_id, ingest.series("m", 1, 2), start=start, params={"p": "1"}, tags={"t": "x"}),
        ingest.batch(2, run_id, end=pb.EndRun(status=pb.EndRun.FAILED, end_time=9)),
    ]

    await _stream(_ingest(db), ingest.session(), batches)

    run = await factories.runs(db).get(run_id)
    experiment = await factories.experiments(db).get_by_name(name)
    assert run.info.experiment_id == experiment.experiment_id
    assert run.info.artifact_uri == f"mlflow-artifacts:/{experiment.experiment_id}/{run_id}/artifacts"
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FAILED", 7, 9)
    assert (run.info.run_name, run.info.user_id) == ("mine", "tester")
    assert run.data.tags == {"t": "x", "mlflow.runName": "mine"}
    assert run.data.params == {"p": "1"}


async def test_run_that_is_there_is_left_as_it_is(db: Database, run_id: str) -> None:
    before = await factories.runs(db).get(run_id)
    start = pb.StartRun(experiment_name=ingest.new_id(), run_name="other", start_time=77)

    progress = await _stream(_ingest(db), ingest.session(), [ingest.batch(1, run_id, start=start)])

    assert progress[-1].rejections == []
    assert await factories.runs(db).get(run_id) == before


async def test_many_runs_begin_at_once_in_one_new_experiment(db: Database) -> None:
    server, name = _ingest(db), ingest.new_id()
    run_ids = [ingest.new_id() for _ in range(40)]

    answers = await asyncio.gather(
        *(
            server.one(ingest.session(), ingest.batch(1, run_id, **ingest.starting(experiment_name=name)), caller="t")
            for run_id in run_ids
        )
    )

    experiment = await factories.experiments(db).get_by_name(name)
    found = {(await factories.runs(db).get(run_id)).info.experiment_id for run_id in run_ids}
    assert [answer.rejection for answer in answers] == [None] * 40
    assert found == {experiment.experiment_id}


async def test_session_goes_on_where_its_client_says_when_it_was_purged(db: Database, run_id: str) -> None:
    server, sender = _ingest(db), ingest.session()
    await server.one(sender, ingest.batch(1, run_id, ingest.series("m", 1, 1)), caller="t")
    later = 10_000_000

    kept = await _ingest(db, now_ms=later, session_age_s=10_000).purge()
    purged = await _ingest(db, now_ms=later, session_age_s=9_000).purge()
    progress = await _stream(server, sender, [ingest.batch(2, run_id, ingest.series("m", 2, 1))], acknowledged=1)

    assert kept == 0
    assert purged >= 1
    assert [told.acknowledged_sequence for told in progress] == [1, 2]


async def test_memory_is_bounded_and_who_finds_none_is_told_to_come_back(db: Database, run_id: str) -> None:
    server = _ingest(db, memory_bytes=60_000)
    big = [ingest.batch(1, run_id, ingest.series("m", 1, 1500)) for _ in range(8)]

    outcomes = await asyncio.gather(
        *(server.one(ingest.session(), batch, caller="t") for batch in big), return_exceptions=True
    )

    refused = [outcome for outcome in outcomes if isinstance(outcome, ResourceExhausted)]
    assert 1 <= len(refused) < 8
    assert all(error.retry_after_s for error in refused)
    assert await _point_count(db, run_id) == 1500 * (8 - len(refused))
    await server.one(ingest.session(), big[0], caller="t")


async def test_stream_waits_for_room_and_gets_through(db: Database, run_id: str) -> None:
    server = _ingest(db, memory_bytes=60_000, window_bytes=40_000)

    def batches() -> list[pb.Batch]:
        return [ingest.batch(number, run_id, ingest.series("m", number, 1200)) for number in range(1, 11)]

    answers = await asyncio.gather(*(_stream(server, ingest.session(), batches()) for _ in range(5)))

    assert [progress[-1].acknowledged_sequence for progress in answers] == [10] * 5
    assert await _point_count(db, run_id) == 5 * 10 * 1200
