"""Points come back complete and in MLflow's order, however they arrived and wherever they are kept."""

import random
from collections.abc import Callable

import pytest

from services.common.database import Database
from services.tracking.metrics import model as metrics_model
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
    by_step = sorted(rows, key=lambda row: (row[1], row[0], row[2]))

    sample: list[Row] = []
    async for block in Metrics(db=db, pages=factories.PAGES).sample(
        run_ids=[run_id], key="m", start_step=None, end_step=None, max_results=buckets
    ):
        points = block.points
        sample += zip(points.timestamps.tolist(), points.steps.tolist(), points.values.tolist(), strict=True)

    assert sample == [by_step[place] for place in metrics_model.bucket_starts(len(rows), buckets)]
