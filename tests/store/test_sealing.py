"""Sealing makes few chunks of many, and nobody who reads sees a difference."""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.database import Database
from services.tracking.metrics.columns import Points
from services.tracking.metrics.model import bucket_starts
from services.tracking.metrics.service import Metrics
from services.tracking.run_logs.service import RunLogs
from services.tracking.sealing import model
from services.tracking.sealing.model import MetricState, Piece
from services.tracking.sealing.service import Sealing
from tests.store import factories

Row = tuple[int, int, float]


@pytest.fixture
async def run_id(db: Database) -> str:
    return await factories.new_run(db, await factories.new_experiment(db))


async def _log(db: Database, run_id: str, rows: list[Row], size: int) -> None:
    logs = RunLogs(db)
    for start in range(0, len(rows), size):
        points = [("m", value, timestamp, step) for timestamp, step, value in rows[start : start + size]]
        await logs.log(factories.batch(run_id, metrics=points))


async def _end(db: Database, run_id: str) -> None:
    await factories.runs(db).update(run_id, status="FINISHED", end_time=1, run_name="")


async def _history(db: Database, run_id: str, page_size: int | None = None) -> list[Row]:
    metrics, rows, token = Metrics(db=db, pages=factories.PAGES), list[Row](), ""
    while True:
        next_token = None
        async for block in metrics.history(run_id=run_id, key="m", max_results=page_size, page_token=token):
            points = block.points
            rows += zip(points.timestamps.tolist(), points.steps.tolist(), points.values.tolist(), strict=True)
            next_token = block.next_page_token
        if not next_token:
            return rows
        token = next_token


async def _sample(db: Database, run_id: str) -> list[int]:
    steps: list[int] = []
    async for block in Metrics(db=db, pages=factories.PAGES).sample(
        run_ids=[run_id], key="m", start_step=None, end_step=None, max_results=37
    ):
        steps += block.points.steps.tolist()
    return steps


async def _chunk_counts(db: Database, run_id: str) -> list[int]:
    async with db.pipeline() as tx:
        answer = await tx.execute(
            "SELECT c.point_count FROM metric_chunks AS c JOIN metrics AS m USING (metric_id) WHERE m.run_id = %s"
            " ORDER BY c.chunk_id",
            [run_id],
        )
        return [count for (count,) in await answer.fetchall()]


async def _is_queued(db: Database, run_id: str) -> bool:
    async with db.pipeline() as tx:
        answer = await tx.execute("SELECT FROM sealing_queue WHERE run_id = %s", [run_id])
        return await answer.fetchone() is not None


def _in_order(count: int) -> list[Row]:
    return [(1000 + place, place, float(place % 7)) for place in range(count)]


def _shuffled(count: int) -> list[Row]:
    rows = _in_order(count)
    random.Random(count).shuffle(rows)
    return rows


def _time_goes_back(count: int) -> list[Row]:
    return [(10_000 - place, place, 1.0) for place in range(count)]


async def test_only_a_run_with_metrics_has_something_to_be_looked_after_at_its_end(db: Database, run_id: str) -> None:
    await _end(db, run_id)
    was_queued = await _is_queued(db, run_id)
    await _log(db, run_id, [(1, 1, 1.0)], size=1)
    await _end(db, run_id)

    assert (was_queued, await _is_queued(db, run_id)) == (False, True)


@pytest.mark.parametrize("arrive", [_in_order, _shuffled, _time_goes_back])
@pytest.mark.parametrize("size", [1, 20, 300])
async def test_sealed_run_reads_as_before_in_one_chunk(
    db: Database, run_id: str, arrive: Callable[[int], list[Row]], size: int
) -> None:
    rows = arrive(1300)
    await _log(db, run_id, rows, size)
    before, sample = await _history(db, run_id), await _sample(db, run_id)
    await _end(db, run_id)

    await Sealing(db).look_after_all()

    assert await _chunk_counts(db, run_id) == [1300]
    assert await _history(db, run_id) == before == sorted(rows)
    assert await _history(db, run_id, page_size=333) == before
    assert await _sample(db, run_id) == sample
    assert not await _is_queued(db, run_id)


async def test_points_logged_twice_are_one_after_sealing(db: Database, run_id: str) -> None:
    rows = _in_order(200)
    await _log(db, run_id, rows, 50)
    await _log(db, run_id, rows, 40)
    await _end(db, run_id)

    await Sealing(db).look_after_all()

    assert await _chunk_counts(db, run_id) == [200]
    assert await _history(db, run_id) == rows


async def test_run_that_goes_on_is_merged_by_and_by_and_goes_on_in_order(db: Database, run_id: str) -> None:
    rows = _in_order(4000)
    for start in range(0, 4000, 400):
        await _log(db, run_id, rows[start : start + 400], 20)
        await Sealing(db).look_after_all()

    assert len(await _chunk_counts(db, run_id)) < 20
    assert await _history(db, run_id) == rows


async def test_sample_of_large_chunks_small_ones_and_rows_is_what_it_is_of_all_points(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.tracking.metrics.places.LARGE_POINTS_MIN", 500)
    random_ = random.Random(1)
    rows = [(1000 * place + random_.randrange(50), place**2, random_.random()) for place in range(1407)]
    await _log(db, run_id, rows[:800], 100)
    await Sealing(db).look_after_all()
    await _log(db, run_id, rows[800:1400], 150)
    await _log(db, run_id, rows[1400:], 1)

    counts = await _chunk_counts(db, run_id)

    assert counts == [800, 150, 150, 150, 150]
    assert await _sample(db, run_id) == [rows[place][1] for place in bucket_starts(1407, 37)]


async def test_pages_go_on_across_a_sealing(db: Database, run_id: str) -> None:
    rows = _in_order(3000)
    await _log(db, run_id, rows, 100)
    metrics = Metrics(db=db, pages=factories.PAGES)
    first = [block async for block in metrics.history(run_id=run_id, key="m", max_results=1234, page_token="")]
    token = first[-1].next_page_token

    await _end(db, run_id)
    await Sealing(db).look_after_all()

    assert token
    rest = [
        step
        async for block in metrics.history(run_id=run_id, key="m", max_results=None, page_token=token)
        for step in block.points.steps.tolist()
    ]
    assert rest == list(range(1234, 3000))


async def test_history_that_is_being_read_goes_on_across_a_sort(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.tracking.sealing.model.FULL_POINTS", 100)
    monkeypatch.setattr("services.tracking.metrics.service.READ_POINTS", 100)
    rows = _in_order(600)
    await _log(db, run_id, rows, 300)
    reading = Metrics(db=db, pages=factories.PAGES).read(run_id=run_id, key="m")
    found = (await anext(reading)).steps.tolist()

    await _log(db, run_id, [(1050, 50, 99.0)], 1)
    await _end(db, run_id)
    await Sealing(db).look_after_all()

    assert len(await _chunk_counts(db, run_id)) == 6
    async for points in reading:
        found += points.steps.tolist()
    assert found == list(range(600))


async def test_chunks_that_an_earlier_release_has_numbered_below_one_are_read(db: Database, run_id: str) -> None:
    rows = _in_order(60)
    await _log(db, run_id, rows, 20)

    async with db.pipeline() as tx:
        await tx.execute(
            "UPDATE metric_chunks SET chunk_id = chunk_id - 2^40::bigint FROM metrics AS m"
            " WHERE m.metric_id = metric_chunks.metric_id AND m.run_id = %s",
            [run_id],
        )

    assert await _history(db, run_id) == rows


async def test_others_are_served_while_a_metric_is_sorted(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, step_order = list[int](), Points.step_order

    def watched(points: Points) -> Any:
        threads.append(threading.get_ident())
        return step_order(points)

    monkeypatch.setattr(Points, "step_order", watched)
    await _log(db, run_id, _shuffled(100), 50)
    await _end(db, run_id)

    await Sealing(db).look_after_all()

    assert threads
    assert threading.get_ident() not in threads


async def test_writers_and_two_workers_at_once_lose_nothing(db: Database, run_id: str) -> None:
    rows = _in_order(6000)

    async def seal() -> None:
        for _ in range(25):
            await Sealing(db).look_after_all()

    await asyncio.gather(_log(db, run_id, rows, 30), seal(), seal())
    await _end(db, run_id)
    await Sealing(db).look_after_all()

    assert await _history(db, run_id) == rows
    assert await _chunk_counts(db, run_id) == [6000]


async def test_run_that_has_logged_since_the_worker_looked_stays_queued(db: Database, run_id: str) -> None:
    await _log(db, run_id, _in_order(40), 20)

    await Sealing(db).look_after(run_id, 1)
    stayed = await _is_queued(db, run_id)
    await Sealing(db).look_after(run_id, 2)

    assert stayed
    assert not await _is_queued(db, run_id)


async def test_worker_that_is_broken_off_leaves_all_as_it_was_and_queued(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _in_order(1000)
    await _log(db, run_id, rows, 50)
    await _end(db, run_id)

    async def break_off(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("services.tracking.sealing.store.put", break_off)
        with pytest.raises(RuntimeError):
            await Sealing(db).look_after(run_id, 0)

    assert await _is_queued(db, run_id)
    assert await _history(db, run_id) == rows
    await Sealing(db).look_after_all()
    assert await _chunk_counts(db, run_id) == [1000]


@given(st.lists(st.integers(16, 90_000), max_size=300), st.booleans())
def test_merging_ends_with_every_point_and_writes_each_few_times(counts: list[int], is_over: bool) -> None:
    pieces: list[Piece] = []
    written = 0
    for number, count in enumerate(counts):
        pieces.append(Piece(number, count))
        while merge := model.merge(_state(pieces), is_over=False):
            written += merge.point_count
            assert merge.point_count <= model.STEP_POINTS_MAX
            pieces = _merged(pieces, merge)
    while merge := model.merge(_state(pieces), is_over=is_over):
        written += merge.point_count
        pieces = _merged(pieces, merge)

    assert sum(piece.point_count for piece in pieces) == sum(counts)
    assert [piece.chunk_id for piece in pieces] == sorted(piece.chunk_id for piece in pieces)
    assert written <= 14 * sum(counts)
    assert all(piece.point_count < 4 * model.FULL_POINTS for piece in pieces)
    if is_over:
        small = [piece for piece in pieces if piece.point_count < model.FULL_POINTS]
        assert len(small) <= 1 + sum(piece.point_count >= model.FULL_POINTS for piece in pieces)


def _state(pieces: list[Piece]) -> MetricState:
    count = sum(piece.point_count for piece in pieces)
    return MetricState(metric_id=1, point_count=count, pending_count=0, in_order=True, pieces=pieces)


def _merged(pieces: list[Piece], merge: model.Merge) -> list[Piece]:
    first = next(place for place, piece in enumerate(pieces) if piece.chunk_id == merge.chunk_ids[0])
    end = first + len(merge.chunk_ids)
    assert [piece.chunk_id for piece in pieces[first:end]] == list(merge.chunk_ids)
    return [*pieces[:first], Piece(merge.chunk_ids[-1], merge.point_count), *pieces[end:]]
