"""What can be done with data sets and links: one public method is one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.database import Database
from services.common.errors import InvalidArgument
from services.tracking.datasets import model, store
from services.tracking.datasets.model import DatasetInput, DatasetSummary, ModelOutput
from services.tracking.experiments.model import parse_id
from services.tracking.run_logs.model import check_run_id
from services.tracking.runs.service import active_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Datasets:
    """The use-cases."""

    db: Database

    async def log_inputs(self, run_id: str, *, datasets: Sequence[DatasetInput], model_ids: Sequence[str]) -> None:
        """Link a run with what it uses. Raises NotFound, InvalidArgument."""
        check_run_id(run_id)
        model.check_links("datasets", len(datasets))
        model.check_links("models", len(model_ids))
        async with self.db.pipeline() as tx:
            run = await active_run(tx, run_id)
            if datasets:
                await store.link_datasets(tx, run_id, experiment_id=int(run.experiment_id), inputs=datasets)
            if model_ids:
                await store.link_models(tx, run_id, direction="input", step_of=dict.fromkeys(model_ids, 0))

    async def log_outputs(self, run_id: str, *, models: Sequence[ModelOutput]) -> None:
        """Link a run with what it made. Raises NotFound, InvalidArgument."""
        model.check_links("models", len(models))
        async with self.db.pipeline() as tx:
            await active_run(tx, run_id)
            step_of = {output.model_id: output.step for output in models}
            await store.link_models(tx, run_id, direction="output", step_of=step_of)

    async def search(self, experiment_ids: Sequence[str]) -> list[DatasetSummary]:
        """Return the data sets that runs of 1 to 20 experiments use. Raises InvalidArgument."""
        if not experiment_ids:
            raise InvalidArgument("SearchDatasets request must specify at least one experiment_id.")
        if len(experiment_ids) > model.SEARCH_EXPERIMENTS_MAX:
            raise InvalidArgument(
                f"SearchDatasets request cannot specify more than {model.SEARCH_EXPERIMENTS_MAX} experiment_ids. "
                f"Received {len(experiment_ids)} experiment_ids."
            )
        async with self.db.pipeline() as tx:
            return await store.summaries(tx, [parse_id(experiment_id) for experiment_id in experiment_ids])
