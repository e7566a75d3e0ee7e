"""What was deleted long ago is removed with all that hangs on it; what was restored, or is new, never is."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import pytest
import sqlalchemy

from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound
from services.tracking.datasets.model import ModelOutput
from services.tracking.datasets.service import Datasets
from services.tracking.experiments import store as experiments_store
from services.tracking.retention import model, store
from services.tracking.retention.service import Retention
from services.tracking.rules import ACTIVE
from services.tracking.run_logs.service import RunLogs
from tests.store import factories

# Factories delete at 1 ms after the epoch.
SINCE_DELETED_MS = 2
TABLES_OF_RUN = ("runs", "run_params", "run_tags", "run_datasets", "run_models", "metrics")


def _retention(db: Database) -> Retention:
    return Retention(db=db, pages=factories.PAGES, artifact_root="mlflow-artifacts:/", now_ms=lambda: 10)


async def _find(db: Database, kind: str, *, deleted_before_ms: int = SINCE_DELETED_MS) -> dict[str, str | None]:
    """Return the artifact URIs of all that can be purged by id, a small page at a time."""
    found: dict[str, str | None] = {}
    token: str | None = ""
    while token is not None:
        page, token = await _retention(db).list_purgeable(
            kind, deleted_before_ms=deleted_before_ms, max_results=2, page_token=token
        )
        found |= {resource.id: resource.artifact_uri for resource in page}
    return found


async def _purge(db: Database, kind: str, resource_id: str) -> None:
    await _retention(db).begin(kind, resource_id, deleted_before_ms=SINCE_DELETED_MS)
    while not await _retention(db).purge(kind, resource_id):
        pass


async def _count(db: Database, table: str, condition: str = "true", **given: object) -> int:
    async with db.begin() as tx:
        query = sqlalchemy.text(f"SELECT count(*) FROM {table} WHERE {condition}")
        return int((await tx.execute(query, given)).scalar_one())


async def _rows_of(db: Database, run_id: str) -> Mapping[str, int]:
    return {table: await _count(db, table, "run_id = :run_id", run_id=run_id) for table in TABLES_OF_RUN}


async def _points(db: Database) -> tuple[int, int]:
    return await _count(db, "metric_points"), await _count(db, "metric_chunks")


async def _full_run(db: Database, experiment_id: str) -> str:
    """Return a run with something in every table: points as rows and as a chunk, parameters, a data set, a model."""
    run_id = await factories.new_run(db, experiment_id, tags={"a": "b"})
    many = [("loss", 0.5, step, step) for step in range(40)]
    entry = factories.batch(run_id, metrics=[("few", 1.0, 1, 1), *many], params={"p": "1"}, tags={"t": "1"})
    await RunLogs(db).log(entry)
    async with db.begin() as tx:
        await tx.execute(
            sqlalchemy.text("""
                WITH dataset AS (
                    INSERT INTO datasets (experiment_id, name, digest, source_type, source)
                    VALUES (:experiment_id, :run_id, 'd', 's', 's')
                    RETURNING dataset_id
                )
                INSERT INTO run_datasets (run_id, dataset_id, tags)
                SELECT :run_id, dataset_id, '{}'
                FROM dataset
            """),
            {"experiment_id": int(experiment_id), "run_id": run_id},
        )
    await Datasets(db=db).log_outputs(run_id, models=[ModelOutput(model_id=f"m-{factories.new_id()}", step=0)])
    return run_id


async def _new_model(db: Database, experiment_id: str) -> str:
    created = await factories.logged_models(db).create(
        experiment_id=experiment_id, name="m", model_type="", source_run_id="", params={"p": "1"}, tags={"t": "1"},
        caller="tester", request_id="",
    )  # fmt: skip
    return created.info.model_id


async def test_a_purged_run_leaves_no_row_and_takes_none_of_another(db: Database) -> None:
    before = await _points(db)
    experiment_id = await factories.new_experiment(db)
    run_id, other_id = await _full_run(db, experiment_id), await _full_run(db, experiment_id)
    rows = await _rows_of(db, other_id)
    assert 0 not in rows.values()
    await factories.runs(db).delete(run_id)

    await _purge(db, "RUN", run_id)

    assert set((await _rows_of(db, run_id)).values()) == {0}
    assert await _rows_of(db, other_id) == rows
    assert await _points(db) == (before[0] + 1, before[1] + 1)


async def test_a_large_run_goes_in_several_calls_and_stays_gone_from_restoring_between_them(db: Database) -> None:
    run_id = await factories.new_run(db, await factories.new_experiment(db))
    steps = 60
    names = [f"m{number}" for number in range(store.METRICS_A_STEP * steps)]
    for start in range(0, len(names), 1000):
        points = [(name, 1.0, 1, 1) for name in names[start : start + 1000]]
        await RunLogs(db).log(factories.batch(run_id, metrics=points))
    await factories.runs(db).delete(run_id)
    await _retention(db).begin("RUN", run_id, deleted_before_ms=SINCE_DELETED_MS)

    first = await _retention(db).purge("RUN", run_id)

    assert not first
    assert 0 < await _count(db, "metrics", "run_id = :run_id", run_id=run_id) < len(names)
    with pytest.raises(NotFound):
        await factories.runs(db).restore(run_id)
    assert await _retention(db).purge("RUN", run_id)
    assert set((await _rows_of(db, run_id)).values()) == {0}


async def test_many_points_of_one_metric_go_by_bounded_steps(db: Database) -> None:
    run_id = await factories.new_run(db, await factories.new_experiment(db))
    for chunk in range(store.CHUNKS_A_STEP + 1):
        points = [("loss", 0.5, chunk, step) for step in range(16)]
        await RunLogs(db).log(factories.batch(run_id, metrics=points))
    await factories.runs(db).delete(run_id)
    await _retention(db).begin("RUN", run_id, deleted_before_ms=SINCE_DELETED_MS)
    chunks = await _count(db, "metric_chunks")

    async with db.begin() as tx:
        is_done = await store.delete_some(tx, model.Kind.RUN, run_id)

    assert not is_done
    assert chunks - await _count(db, "metric_chunks") == store.CHUNKS_A_STEP


async def test_only_what_was_deleted_before_is_listed(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)
    active_id, deleted_id = [await factories.new_run(db, experiment_id) for _ in range(2)]
    await factories.runs(db).delete(deleted_id)

    found, too_early = await _find(db, "RUN"), await _find(db, "RUN", deleted_before_ms=1)

    assert found[deleted_id] == f"mlflow-artifacts:/{experiment_id}/{deleted_id}/artifacts"
    assert active_id not in found
    assert deleted_id not in too_early


async def test_what_a_purge_was_begun_of_is_listed_whatever_its_age(db: Database) -> None:
    run_id = await factories.new_run(db, await factories.new_experiment(db))
    await factories.runs(db).delete(run_id)
    await _retention(db).begin("RUN", run_id, deleted_before_ms=SINCE_DELETED_MS)

    assert run_id in await _find(db, "RUN", deleted_before_ms=1)


async def test_a_restored_run_is_not_purged(db: Database) -> None:
    run_id = await factories.new_run(db, await factories.new_experiment(db))
    await factories.runs(db).delete(run_id)
    assert run_id in await _find(db, "RUN")
    await factories.runs(db).restore(run_id)

    with pytest.raises(InvalidArgument, match="restored"):
        await _retention(db).begin("RUN", run_id, deleted_before_ms=SINCE_DELETED_MS)
    with pytest.raises(InvalidArgument, match="No purge"):
        await _retention(db).purge("RUN", run_id)

    assert (await factories.runs(db).get(run_id)).info.lifecycle_stage == ACTIVE


@pytest.mark.parametrize("kind", ["RUN", "LOGGED_MODEL", "EXPERIMENT"])
async def test_a_purge_waits_for_a_restore_under_way_and_then_does_nothing(db: Database, kind: str) -> None:
    experiment_id = await factories.new_experiment(db)
    make = {"RUN": factories.new_run, "LOGGED_MODEL": _new_model}.get(kind)
    resource_id = await make(db, experiment_id) if make else experiment_id
    await factories.experiments(db).delete(experiment_id)

    async with db.begin() as tx:
        await experiments_store.set_stage(tx, int(experiment_id), stage=ACTIVE, deleted_time=None, now_ms=1)
        begun = asyncio.create_task(_retention(db).begin(kind, resource_id, deleted_before_ms=SINCE_DELETED_MS))
        await _until(lambda: _somebody_waits_for_a_lock(db))

    with pytest.raises(InvalidArgument, match="restored"):
        await begun


async def test_a_run_deleted_again_lately_is_not_purged(db: Database) -> None:
    run_id = await factories.new_run(db, await factories.new_experiment(db))
    await factories.runs(db).delete(run_id)

    with pytest.raises(InvalidArgument, match="lately"):
        await _retention(db).begin("RUN", run_id, deleted_before_ms=1)


async def test_restoring_an_experiment_leaves_runs_deleted_that_are_being_purged(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)
    purged_id, other_id = [await factories.new_run(db, experiment_id) for _ in range(2)]
    await factories.experiments(db).delete(experiment_id)
    await _retention(db).begin("RUN", purged_id, deleted_before_ms=SINCE_DELETED_MS)

    await factories.experiments(db).restore(experiment_id)

    assert (await factories.runs(db).get(purged_id)).info.lifecycle_stage == "deleted"
    assert (await factories.runs(db).get(other_id)).info.lifecycle_stage == ACTIVE


async def test_an_experiment_goes_after_its_runs_and_models(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)
    run_id, model_id = await _full_run(db, experiment_id), await _new_model(db, experiment_id)
    await factories.experiments(db).delete(experiment_id)

    for kind, resource_id in (("RUN", run_id), ("LOGGED_MODEL", model_id)):
        assert experiment_id not in await _find(db, "EXPERIMENT")
        with pytest.raises(InvalidArgument, match="still holds"):
            await _retention(db).begin("EXPERIMENT", experiment_id, deleted_before_ms=SINCE_DELETED_MS)
        assert resource_id in await _find(db, kind)
        await _purge(db, kind, resource_id)
    assert experiment_id in await _find(db, "EXPERIMENT")
    await _purge(db, "EXPERIMENT", experiment_id)

    for table in ("experiments", "experiment_tags", "datasets", "logged_models"):
        assert await _count(db, table, "experiment_id = :id", id=int(experiment_id)) == 0
    assert await _count(db, "logged_model_params", "model_id = :id", id=model_id) == 0


async def test_an_experiment_that_is_being_purged_is_not_restored(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)
    await factories.experiments(db).delete(experiment_id)
    await _retention(db).begin("EXPERIMENT", experiment_id, deleted_before_ms=SINCE_DELETED_MS)

    with pytest.raises(NotFound):
        await factories.experiments(db).restore(experiment_id)


async def test_the_default_experiment_stays(db: Database) -> None:
    await factories.experiments(db).ensure_default()
    await factories.experiments(db).delete("0")
    try:
        assert "0" not in await _find(db, "EXPERIMENT")
        with pytest.raises(InvalidArgument):
            await _retention(db).begin("EXPERIMENT", "0", deleted_before_ms=SINCE_DELETED_MS)
    finally:
        await factories.experiments(db).restore("0")


async def test_a_model_goes_with_its_experiment_and_comes_back_with_it(db: Database) -> None:
    experiment_id = await factories.new_experiment(db)
    model_id = await _new_model(db, experiment_id)
    assert model_id not in await _find(db, "LOGGED_MODEL")

    await factories.experiments(db).delete(experiment_id)
    assert model_id in await _find(db, "LOGGED_MODEL")
    await factories.experiments(db).restore(experiment_id)

    with pytest.raises(InvalidArgument, match="restored"):
        await _retention(db).begin("LOGGED_MODEL", model_id, deleted_before_ms=SINCE_DELETED_MS)


async def test_an_experiments_tree_is_named_only_where_all_below_it_is_its_own(db: Database) -> None:
    experiments = factories.experiments(db)
    root = f"mlflow-artifacts:/{factories.new_id()}"

    async def create(location: str = "") -> str:
        return await experiments.create(
            name=factories.new_id(), artifact_location=location, tags={}, caller="tester", request_id=""
        )

    own, given, shared = await create(), await create(root), await create()
    guest = await create(f"mlflow-artifacts:/{shared}/nested")
    for experiment_id in (own, given, shared, guest):
        await experiments.delete(experiment_id)

    found = await _find(db, "EXPERIMENT")

    assert found[own] == f"mlflow-artifacts:/{own}"
    assert found[given] is found[shared] is found[guest] is None


@pytest.mark.parametrize("kind", ["RUN", "LOGGED_MODEL", "EXPERIMENT"])
async def test_what_does_not_exist_is_purged_already(db: Database, kind: str) -> None:
    await _retention(db).begin(kind, str(2**62), deleted_before_ms=SINCE_DELETED_MS)

    assert await _retention(db).purge(kind, str(2**62))


async def test_an_unknown_kind_is_refused(db: Database) -> None:
    with pytest.raises(InvalidArgument, match="kind"):
        await _find(db, "KIND_UNSPECIFIED")


async def test_idempotency_keys_are_forgotten_after_seven_days(db: Database) -> None:
    now_ms = time.time_ns() // 1_000_000
    caller = factories.new_id()
    for request_id, age_days in (("old", 7.1), ("young", 6.9)):
        async with db.begin() as tx:
            await tx.execute(
                sqlalchemy.text("""
                    INSERT INTO idempotency_keys (caller, operation, request_id, fingerprint, create_time)
                    VALUES (:caller, 'CreateRun', :request_id, '', now() - make_interval(hours => :age_hours))
                """),
                {"caller": caller, "request_id": request_id, "age_hours": int(age_days * 24)},
            )
    retention = Retention(db=db, pages=factories.PAGES, artifact_root="", now_ms=lambda: now_ms)

    count = await retention.forget_request_ids()

    assert count >= 1
    assert await _count(db, "idempotency_keys", "caller = :caller", caller=caller) == 1
    assert await _count(db, "idempotency_keys", "caller = :caller AND request_id = 'young'", caller=caller) == 1


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(6000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")


async def _somebody_waits_for_a_lock(db: Database) -> bool:
    return await _count(db, "pg_stat_activity", "wait_event_type = 'Lock'") > 0
