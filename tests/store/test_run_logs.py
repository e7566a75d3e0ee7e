"""What runs log is stored whole or not at all, however many log at once."""

import asyncio

import pytest

from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound, ServiceError
from services.tracking.run_logs.service import RunLogs
from services.tracking.runs.model import Run
from tests.store import factories


@pytest.fixture
async def run_id(db: Database) -> str:
    return await factories.new_run(db, await factories.new_experiment(db))


async def _run(db: Database, run_id: str) -> Run:
    return await factories.runs(db).get(run_id)


async def test_refused_batch_leaves_nothing(db: Database, run_id: str) -> None:
    logs = RunLogs(db)
    await logs.log(factories.batch(run_id, params={"p": "1"}))

    with pytest.raises(InvalidArgument, match="Changing param values is not allowed"):
        await logs.log(
            factories.batch(run_id, metrics=[("m", 1.0, 1, 1)], params={"new": "x", "p": "2"}, tags={"t": "x"})
        )

    run = await _run(db, run_id)
    assert (run.data.params, run.data.metrics, set(run.data.tags)) == ({"p": "1"}, None, {"mlflow.runName"})


async def test_refused_entry_takes_no_other_of_its_group_with_it(db: Database, run_id: str) -> None:
    logs = RunLogs(db)
    entries = [
        factories.batch(run_id, params={"p": str(number % 2)}, metrics=[(f"m{number}", 1.0, 1, 1)])
        for number in range(20)
    ]

    outcomes = await asyncio.gather(*map(logs.log, entries), return_exceptions=True)

    run = await _run(db, run_id)
    stored = {f"m{number}" for number, outcome in enumerate(outcomes) if outcome is None}
    assert run.data.metrics is not None
    assert set(run.data.metrics.key) == stored
    assert len(stored) == 10
    assert all(isinstance(outcome, InvalidArgument) for outcome in outcomes if outcome is not None)


async def test_entry_that_breaks_its_transaction_takes_no_other_with_it(db: Database, run_id: str) -> None:
    logs = RunLogs(db)
    # A lone surrogate passes every check but cannot be sent to the database.
    entries = [factories.batch(run_id, tags={f"t{number}": "\ud800" if number == 7 else "x"}) for number in range(15)]

    outcomes = await asyncio.gather(*map(logs.log, entries), return_exceptions=True)

    assert [number for number, outcome in enumerate(outcomes) if outcome is not None] == [7]
    assert len((await _run(db, run_id)).data.tags) == 15


async def test_many_writers_of_few_runs_do_not_deadlock(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)
    run_ids = [await factories.new_run(db, experiment_id) for _ in range(3)]
    # Several services, as replicas would be: they share nothing but the database.
    replicas = [RunLogs(db) for _ in range(4)]

    async def write(number: int) -> None:
        run_id = run_ids[number % 3]
        await replicas[number % 4].log(
            factories.batch(
                run_id,
                metrics=[(f"k{key}", float(number), number, number) for key in range(10)],
                params={f"p{number % 5}": "same"},
                tags={f"t{number % 7}": str(number), "mlflow.runName": f"run {number}"},
            )
        )

    await asyncio.gather(*map(write, range(240)))

    for place, run_id in enumerate(run_ids):
        data = (await _run(db, run_id)).data
        assert data.metrics is not None
        assert list(data.metrics.step) == [237 + place] * 10


async def test_run_name_and_its_tag_are_one(db: Database, run_id: str) -> None:
    logs = RunLogs(db)

    await logs.log(factories.batch(run_id, tags={"mlflow.runName": "new"}))
    named = await _run(db, run_id)
    await factories.runs(db).update(run_id, status=None, end_time=None, run_name="newer")
    renamed = await _run(db, run_id)

    assert (named.info.run_name, named.data.tags["mlflow.runName"]) == ("new", "new")
    assert (renamed.info.run_name, renamed.data.tags["mlflow.runName"]) == ("newer", "newer")


async def test_unknown_model_refuses_the_whole_entry(db: Database, run_id: str) -> None:
    entry = factories.batch(run_id, metrics=[("m", 1.0, 1, 1)], tags={"t": "x"}, model_id="m-none")

    with pytest.raises(NotFound, match="Logged model with ID 'm-none' not found"):
        await RunLogs(db).log(entry)

    assert (await _run(db, run_id)).data.metrics is None


async def test_deleted_run_takes_nothing(db: Database, run_id: str) -> None:
    await factories.runs(db).delete(run_id)

    with pytest.raises(InvalidArgument, match=r"must be in the 'active' state\. Current state is deleted\."):
        await RunLogs(db).log(factories.batch(run_id, tags={"t": "x"}))


async def test_same_key_creates_once(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)

    made = await asyncio.gather(
        *[factories.new_run(db, experiment_id, request_id=f"key of {experiment_id}") for _ in range(12)]
    )
    page, _ = await factories.runs(db).search(
        experiment_ids=[experiment_id], filter_text="", view=1, order_by=[], max_results=10, page_token=""
    )

    assert len(set(made)) == 1
    assert [run.info.run_id for run in page] == made[:1]


async def test_key_of_another_request_is_refused(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)
    await factories.new_run(db, experiment_id, request_id=f"key of {experiment_id}")

    with pytest.raises(ServiceError, match="was used for another request"):
        await factories.new_run(db, experiment_id, request_id=f"key of {experiment_id}", user_id="else")


async def test_parallel_creates_of_one_name_make_one_experiment(db: Database) -> None:
    name = factories.new_id()
    experiments = factories.experiments(db)

    outcomes = await asyncio.gather(
        *[
            experiments.create(name=name, artifact_location="", tags={}, caller="tester", request_id="")
            for _ in range(10)
        ],
        return_exceptions=True,
    )

    refusals = [str(outcome) for outcome in outcomes if not isinstance(outcome, str)]
    assert refusals == [f"Experiment(name={name}) already exists."] * 9
