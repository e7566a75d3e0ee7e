"""What can be done with runs, but for logging (services/tracking/run_logs): one public method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from services.common import idempotency
from services.common.database import Database, Driver, driver_of
from services.common.errors import NotFound
from services.common.filters import parse_filter, parse_order_by
from services.common.pages import PageTokens, fitting
from services.tracking import rules
from services.tracking.datasets.model import RunInputs
from services.tracking.experiments import store as experiments_store
from services.tracking.experiments.model import parse_id
from services.tracking.metrics import store as metrics_store
from services.tracking.run_logs import model as logs_model
from services.tracking.runs import model, store
from services.tracking.runs.model import Run, RunInfo
from services.tracking.runs.search_grammar import RUNS


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch, `new_id` 32 hexadecimal digits. `tell` is told
    the runs that are changed one by one.
    """

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]
    new_id: Callable[[], str]
    tell: rules.Tell = rules.tell_nobody

    async def create(
        self, *, experiment_id: str, user_id: str, run_name: str, start_time: int, tags: Mapping[str, str],
        caller: str, request_id: str,
    ) -> Run:  # fmt: skip
        """Create a running run. Raises NotFound, InvalidArgument if the experiment is deleted."""
        number = parse_id(experiment_id)
        given = (number, user_id, run_name, start_time, sorted(tags.items()))
        run: Run | None = None

        async with self.db.pipeline() as tx:

            async def create() -> str:
                nonlocal run
                experiment = await experiments_store.target(tx, number)
                if experiment is None:
                    raise NotFound(f"No Experiment with id={number} exists")
                experiment.check_active()
                run = model.new_run(
                    run_id=self.new_id(),
                    experiment_id=experiment.experiment_id,
                    artifact_location=experiment.artifact_location,
                    user_id=user_id,
                    run_name=run_name,
                    start_time=start_time,
                    tags=tags,
                )
                await store.add(tx, run.info, run.data.tags)
                return run.info.run_id

            run_id = await idempotency.once(
                tx,
                caller=caller,
                operation="CreateRun",
                request_id=request_id,
                fingerprint=idempotency.fingerprint(*given),
                create=create,
            )
            if run is None:
                data = model.RunData(tags=await store.tags_of(tx, run_id))
                run = Run(info=await existing_run(tx, run_id), data=data, inputs=RunInputs(), outputs=None)
        return run

    async def get(self, run_id: str) -> Run:
        """Return a run, deleted or not. Raises NotFound."""
        async with self.db.pipeline(snapshot=True) as tx:
            info = await existing_run(tx, run_id)
            return (await store.with_details(tx, [info], with_model_inputs=True))[0]

    async def update(self, run_id: str, *, status: str | None, end_time: int | None, run_name: str) -> RunInfo:
        """Change what is given and return the run's metadata. Raises NotFound, InvalidArgument if it is deleted."""
        async with self.db.pipeline() as tx:
            change = partial(store.update_active, status=status, end_time=end_time, run_name=run_name or None)
            while (info := await change(tx, run_id)) is None:
                # Says why, unless the run was restored in between: it is locked then, and changes the next time.
                await active_run(tx, run_id)
            if run_name:
                await store.set_tag(tx, run_id, key=logs_model.RUN_NAME_TAG, value=run_name)
            if status not in (None, "RUNNING", "SCHEDULED"):
                await metrics_store.enqueue_ended(tx, [run_id])
        self.tell([run_id])
        return info

    async def delete(self, run_id: str) -> None:
        """Mark a run deleted; again does nothing new. Raises NotFound."""
        await self._move(run_id, stage=rules.DELETED, deleted_time=self.now_ms())

    async def restore(self, run_id: str) -> None:
        """Make a run active. Raises NotFound."""
        await self._move(run_id, stage=rules.ACTIVE, deleted_time=None)

    async def delete_many(self, experiment_id: str, *, max_timestamp: int, max_runs: int) -> int:
        """Mark the oldest active runs of an experiment that started at or before a time deleted, and return how many.

        Times are milliseconds since the Unix epoch. Raises NotFound, InvalidArgument.
        """
        model.check_max_runs(max_runs)
        async with self.db.pipeline() as tx:
            number = await _existing_experiment(tx, experiment_id)
            return await store.delete_started(
                tx, number, max_timestamp=max_timestamp, limit=max_runs, now_ms=self.now_ms()
            )

    async def restore_many(self, experiment_id: str, *, min_timestamp: int, max_runs: int) -> int:
        """Make the first deleted runs of an experiment that were deleted at or after a time active, and return how
        many. Times are milliseconds since the Unix epoch. Raises NotFound, InvalidArgument.
        """
        model.check_max_runs(max_runs)
        async with self.db.pipeline() as tx:
            number = await _existing_experiment(tx, experiment_id)
            return await store.restore_deleted(tx, number, min_timestamp=min_timestamp, limit=max_runs)

    async def delete_tag(self, run_id: str, *, key: str) -> None:
        """Raises NotFound if the run or the tag does not exist, InvalidArgument if the run is deleted."""
        async with self.db.pipeline() as tx:
            await active_run(tx, run_id)
            if not await store.delete_tag(tx, run_id, key=key):
                raise NotFound(f"No tag with name: {key} in run with id {run_id}")
        self.tell([run_id])

    async def search(
        self, *, experiment_ids: Sequence[str], filter_text: str, view: int, order_by: Sequence[str],
        max_results: int, page_token: str,
    ) -> tuple[list[Run], str | None]:  # fmt: skip
        """Return a page of runs and the token of the next one. It has fewer runs than asked for where more are too
        large for one answer. Raises InvalidArgument.
        """
        model.check_page_size(max_results)
        filters = parse_filter(filter_text, RUNS)
        order = parse_order_by(order_by, RUNS)
        numbers = [parse_id(experiment_id) for experiment_id in experiment_ids]
        query = ["runs", sorted(numbers), filter_text, view, list(order_by)]
        position = self.pages.decode(page_token, query) if page_token else None
        async with self.db.begin(snapshot=True) as tx:
            found, positions = await store.search(
                tx,
                experiment_ids=numbers,
                stages=rules.STAGES_OF_VIEW[view],
                filters=filters,
                order=order,
                position=position,
                limit=max_results + 1,
            )
            runs = await store.with_details(await driver_of(tx), found[:max_results], with_model_inputs=False)
        count = fitting(map(model.size, runs))
        token = self.pages.encode(positions[count - 1], query) if len(found) > count else None
        return runs[:count], token

    async def _move(self, run_id: str, *, stage: str, deleted_time: int | None) -> None:
        async with self.db.pipeline() as tx:
            if not await store.set_stage(tx, run_id, stage=stage, deleted_time=deleted_time):
                raise _not_found(run_id)
        self.tell([run_id])


async def existing_run(tx: Driver, run_id: str, *, lock: bool = False) -> RunInfo:
    """Return a run, deleted or not; `lock` keeps others from logging to it. Raises NotFound."""
    info = await store.get(tx, run_id, lock=lock)
    if info is None:
        raise _not_found(run_id)
    return info


async def active_run(tx: Driver, run_id: str) -> RunInfo:
    """Return a locked run that is not deleted. Raises NotFound, InvalidArgument."""
    info = await existing_run(tx, run_id, lock=True)
    info.check_active()
    return info


def _not_found(run_id: str) -> NotFound:
    return NotFound(f"Run with id={run_id} not found")


async def _existing_experiment(tx: Driver, experiment_id: str) -> int:
    """Return the number of an experiment, deleted or not, which stays until the transaction ends. Raises NotFound,
    InvalidArgument.
    """
    number = parse_id(experiment_id)
    if await experiments_store.target(tx, number) is None:
        raise NotFound(f"No Experiment with id={number} exists")
    return number
