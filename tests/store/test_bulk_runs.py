"""Many runs of an experiment are deleted and restored at once, by time."""

import asyncio

import pytest

from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound
from services.tracking.runs.service import Runs
from tests.store import factories


def _runs(db: Database, now_ms: int) -> Runs:
    return Runs(db=db, pages=factories.PAGES, now_ms=lambda: now_ms, new_id=factories.new_id)


async def _new_runs(db: Database, *start_times: int) -> tuple[str, list[str]]:
    experiment_id = await factories.new_experiment(db)
    return experiment_id, [await factories.new_run(db, experiment_id, start_time=time) for time in start_times]


async def _deleted(db: Database, run_ids: list[str]) -> list[bool]:
    runs = _runs(db, 0)
    return [(await runs.get(run_id)).info.lifecycle_stage == "deleted" for run_id in run_ids]


async def test_runs_that_started_by_then_are_deleted(db: Database) -> None:
    experiment_id, run_ids = await _new_runs(db, 10, 20, 30)
    _, others = await _new_runs(db, 10)

    count = await _runs(db, 100).delete_many(experiment_id, max_timestamp=20, max_runs=10)
    again = await _runs(db, 200).delete_many(experiment_id, max_timestamp=20, max_runs=10)

    assert (count, again) == (2, 0)
    assert await _deleted(db, run_ids) == [True, True, False]
    assert await _deleted(db, others) == [False]


async def test_the_oldest_go_first(db: Database) -> None:
    experiment_id, run_ids = await _new_runs(db, 30, 10, 20)

    assert await _runs(db, 100).delete_many(experiment_id, max_timestamp=30, max_runs=2) == 2

    assert await _deleted(db, run_ids) == [False, True, True]


async def test_runs_that_were_deleted_since_are_restored(db: Database) -> None:
    experiment_id, run_ids = await _new_runs(db, 10, 20, 30)
    for number, run_id in enumerate(run_ids):
        await _runs(db, 100 + number).delete(run_id)

    assert await _runs(db, 0).restore_many(experiment_id, min_timestamp=101, max_runs=1) == 1
    assert await _deleted(db, run_ids) == [True, False, True]
    assert await _runs(db, 0).restore_many(experiment_id, min_timestamp=101, max_runs=10) == 1
    assert await _deleted(db, run_ids) == [True, False, False]


async def test_what_is_being_purged_is_not_restored(db: Database) -> None:
    experiment_id, run_ids = await _new_runs(db, 10)
    await _runs(db, 100).delete(run_ids[0])
    async with db.pipeline() as tx:
        await tx.execute("UPDATE runs SET purge_time = 1 WHERE run_id = %(run_id)s", {"run_id": run_ids[0]})

    assert await _runs(db, 0).restore_many(experiment_id, min_timestamp=0, max_runs=10) == 0


async def test_many_at_once_move_each_run_once(db: Database) -> None:
    experiment_id, run_ids = await _new_runs(db, *range(30))

    counts = await asyncio.gather(
        *[_runs(db, 100).delete_many(experiment_id, max_timestamp=1000, max_runs=20) for _ in range(8)],
        *[_runs(db, 100).delete(run_id) for run_id in run_ids[::3]],
    )

    assert sum(count or 0 for count in counts) <= len(run_ids)
    left = sum(1 for is_deleted in await _deleted(db, run_ids) if not is_deleted)
    assert await _runs(db, 100).delete_many(experiment_id, max_timestamp=1000, max_runs=1000) == left


@pytest.mark.parametrize("max_runs", [0, -1, 10_001])
async def test_the_number_of_runs_is_bounded(db: Database, max_runs: int) -> None:
    experiment_id, _ = await _new_runs(db)

    with pytest.raises(InvalidArgument, match="max_runs"):
        await _runs(db, 0).delete_many(experiment_id, max_timestamp=0, max_runs=max_runs)
    with pytest.raises(InvalidArgument, match="max_runs"):
        await _runs(db, 0).restore_many(experiment_id, min_timestamp=0, max_runs=max_runs)


async def test_the_experiment_must_exist(db: Database) -> None:
    with pytest.raises(NotFound):
        await _runs(db, 0).delete_many("987654321", max_timestamp=0, max_runs=1)
    with pytest.raises(InvalidArgument):
        await _runs(db, 0).restore_many("x", min_timestamp=0, max_runs=1)
