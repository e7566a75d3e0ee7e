"""Points come back complete and in MLflow's order, however they arrived and wherever they are kept."""

import asyncio
import random
import threading
from collections.abc import Callable, Sequence

import pytest

from services.common.database import Database
from services.tracking.metrics import model as metrics_model
from services.tracking.metrics.columns import Points
from services.tracking.metrics.service import Metrics
from services.tracking.run_logs.service import RunLogs
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


async def _pages(db: Database, run_id: str, page_size: int | None) -> list[list[Row]]:
    metrics, pages, token = Metrics(db=db, pages=factories.PAGES), [], ""
    while True:
        page: list[Row] = []
        next_token = None
        async for block in metrics.history(run_id=run_id, key="m", max_results=page_size, page_token=token):
            points = block.points
            page += zip(points.timestamps.tolist(), points.steps.tolist(), points.values.tolist(), strict=True)
            next_token = block.next_page_token
        pages.append(page)
        if not next_token:
            return pages
        token = next_token


def _in_order(count: int) -> list[Row]:
    return [(1000 + place, place, float(place % 7)) for place in range(count)]


def _shuffled(count: int) -> list[Row]:
    rows = _in_order(count)
    random.Random(count).shuffle(rows)
    return rows


def _same_time(count: int) -> list[Row]:
    return [(5, place, 1.0) for place in range(count)]


def _same_step(count: int) -> list[Row]:
    return [(place, 0, 1.0) for place in range(count)]


_ARRIVALS = [_in_order, _shuffled, _same_time, _same_step]


@pytest.mark.parametrize("arrive", _ARRIVALS)
@pytest.mark.parametrize("size", [1, 15, 16, 100, 700])
async def test_history_is_complete_and_ordered(
    db: Database, run_id: str, arrive: Callable[[int], list[Row]], size: int
) -> None:
    rows = arrive(metrics_model.PENDING_POINTS_MAX + 200 if size < 16 else 1500)

    await _log(db, run_id, rows, size)

    assert await _pages(db, run_id, None) == [sorted(rows)]


@pytest.mark.parametrize("arrive", _ARRIVALS)
@pytest.mark.parametrize("page_size", [1, 64, 100, 300])
async def test_pages_visit_every_point_once_and_end_without_a_token(
    db: Database, run_id: str, arrive: Callable[[int], list[Row]], page_size: int
) -> None:
    rows = arrive(300)
    await _log(db, run_id, rows, 47)

    pages = await _pages(db, run_id, page_size)

    assert [row for page in pages for row in page] == sorted(rows)
    assert len(pages) == -(-len(rows) // page_size)


async def test_pages_go_on_where_many_points_share_time_and_step(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.tracking.metrics.service.BLOCK_POINTS", 50)
    rows = [(5, 0, float(place)) for place in range(500)]
    await _log(db, run_id, rows, 100)

    assert [row for page in await _pages(db, run_id, 120) for row in page] == rows


@pytest.mark.parametrize("arrive", _ARRIVALS)
async def test_points_logged_twice_are_stored_once(
    db: Database, run_id: str, arrive: Callable[[int], list[Row]]
) -> None:
    rows = arrive(120)

    await _log(db, run_id, rows, 40)
    await _log(db, run_id, rows, 7)

    assert await _pages(db, run_id, None) == [sorted(rows)]


@pytest.mark.parametrize("arrive", _ARRIVALS)
@pytest.mark.parametrize("buckets", [1, 2, 7, 320, 2500])
async def test_sample_is_even_over_steps(
    db: Database, run_id: str, arrive: Callable[[int], list[Row]], buckets: int
) -> None:
    rows = arrive(1000)
    await _log(db, run_id, rows, 93)
    by_step = _by_step(rows)

    assert await _sample(db, run_id, buckets) == [
        by_step[place] for place in metrics_model.bucket_starts(len(rows), buckets)
    ]


async def _sample(db: Database, run_id: str, buckets: int, within: tuple[int, int] | None = None) -> list[Row]:
    start_step, end_step = within or (None, None)
    sample: list[Row] = []
    async for block in Metrics(db=db, pages=factories.PAGES).sample(
        run_ids=[run_id], key="m", start_step=start_step, end_step=end_step, max_results=buckets
    ):
        points = block.points
        sample += zip(points.timestamps.tolist(), points.steps.tolist(), points.values.tolist(), strict=True)
    return sample


@pytest.mark.parametrize("page_size", [None, 64])
async def test_history_of_more_points_than_are_sorted_at_once_is_complete_and_ordered(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch, page_size: int | None
) -> None:
    monkeypatch.setattr("services.tracking.metrics.model.SORTED_POINTS_MAX", 100)
    monkeypatch.setattr("services.tracking.metrics.service.READ_POINTS", 30)
    sorted_counts, threads, by_time = list[int](), set[int](), Points.by_time

    def watched(points: Points) -> Points:
        if len(points) > 30:
            sorted_counts.append(len(points))
            threads.add(threading.get_ident())
        return by_time(points)

    monkeypatch.setattr(Points, "by_time", watched)
    rows = _shuffled(700)
    await _log(db, run_id, rows, 20)
    await _log(db, run_id, rows[:60], 20)
    await _log(db, run_id, rows[60:70], 1)

    pages = await _pages(db, run_id, page_size)

    assert [row for page in pages for row in page] == sorted(rows)
    assert max(sorted_counts) <= 100 + 30 + 20
    assert threading.get_ident() not in threads


def _by_step(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row[1], row[0], row[2]))


async def test_sample_of_more_points_than_are_sorted_is_even_by_arrival(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.tracking.metrics.model.SORTED_POINTS_MAX", 500)
    shuffled = _shuffled(1000)
    # The points of a batch arrive in order.
    rows = [row for start in range(0, 1000, 93) for row in sorted(shuffled[start : start + 93])]
    await _log(db, run_id, rows, 93)
    chosen = [rows[place] for place in metrics_model.bucket_starts(1000, 40)]

    assert await _sample(db, run_id, 40) == _by_step(chosen)
    assert await _sample(db, run_id, 40, (200, 800)) == _by_step([row for row in chosen if 200 <= row[1] <= 800])


async def test_sample_of_many_points_of_an_interval_is_even_in_the_chunks_that_hold_it(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.tracking.metrics.model.SORTED_POINTS_MAX", 500)
    rows = _in_order(1007)
    await _log(db, run_id, rows, 100)
    # Of steps 200 to 899, and of the rows that wait.
    places = [200 + place for place in metrics_model.bucket_starts(707, 101)]

    assert await _sample(db, run_id, 101, (250, 849)) == [rows[place] for place in places if 250 <= place <= 849]
    assert await _sample(db, run_id, 10, (300, 399)) == [
        rows[300 + place] for place in metrics_model.bucket_starts(100, 10)
    ]


async def test_many_points_are_sorted_for_one_reader_at_a_time(
    db: Database, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.tracking.metrics.service.READ_POINTS", 30)
    await _log(db, run_id, _shuffled(100), 20)
    both, by_step, have_met, threads = threading.Barrier(2), Points.by_step, list[bool](), set[int]()

    def meeting(points: Points) -> Points:
        threads.add(threading.get_ident())
        try:
            both.wait(timeout=0.5)
            have_met.append(True)
        except threading.BrokenBarrierError:
            both.reset()
            have_met.append(False)
        return by_step(points)

    monkeypatch.setattr(Points, "by_step", meeting)
    metrics = Metrics(db=db, pages=factories.PAGES)

    async def sample() -> int:
        blocks = metrics.sample(run_ids=[run_id], key="m", start_step=None, end_step=None, max_results=7)
        return sum([len(block.points) async for block in blocks])

    assert await asyncio.gather(sample(), sample()) == [7, 7]
    assert have_met == [False, False]
    assert threading.get_ident() not in threads
