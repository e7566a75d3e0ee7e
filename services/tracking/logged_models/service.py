"""What can be done with logged models: one public method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.common import idempotency
from services.common.database import Database, Tx, driver_of
from services.common.errors import InvalidArgument, NotFound
from services.common.filters import parse_filter
from services.common.pages import PageTokens, fitting
from services.tracking import rules
from services.tracking.experiments import store as experiments_store
from services.tracking.experiments.model import parse_id
from services.tracking.logged_models import model, store
from services.tracking.logged_models.model import (
    LoggedModel,
    LoggedModelData,
    LoggedModelInfo,
    ModelOrder,
    OnDataset,
)
from services.tracking.logged_models.search_grammar import LOGGED_MODELS
from services.tracking.names import random_name


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModels:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch, `new_id` 32 hexadecimal digits."""

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]
    new_id: Callable[[], str]

    async def create(
        self, *, experiment_id: str, name: str, model_type: str, source_run_id: str, params: Mapping[str, str],
        tags: Mapping[str, str], caller: str, request_id: str,
    ) -> LoggedModel:  # fmt: skip
        """Create a pending model. Raises NotFound, InvalidArgument, also if the experiment is deleted."""
        number = parse_id(experiment_id)
        model.check_new(name=name, model_type=model_type, source_run_id=source_run_id)
        model.check_params(params)
        model.check_tags(tags)

        async with self.db.begin() as tx:

            async def create() -> str:
                experiment = await experiments_store.target(await driver_of(tx), number)
                if experiment is None:
                    raise NotFound(f"No Experiment with id={number} exists")
                experiment.check_active()
                model_id, now_ms = f"m-{self.new_id()}", self.now_ms()
                info = LoggedModelInfo(
                    model_id=model_id,
                    experiment_id=experiment.experiment_id,
                    name=name or random_name(),
                    artifact_uri=rules.join_uri(experiment.artifact_location, "models", model_id, "artifacts"),
                    creation_timestamp_ms=now_ms,
                    last_updated_timestamp_ms=now_ms,
                    status=model.STATUSES["PENDING"],
                    status_message=None,
                    model_type=model_type,
                    source_run_id=source_run_id,
                    tags=tags,
                )
                await store.add(tx, LoggedModel(info=info, data=LoggedModelData(params=params)))
                return model_id

            pairs = (sorted(params.items()), sorted(tags.items()))
            model_id = await idempotency.once(
                await driver_of(tx),
                caller=caller,
                operation="CreateLoggedModel",
                request_id=request_id,
                fingerprint=idempotency.fingerprint(number, name, model_type, source_run_id, *pairs),
                create=create,
            )
            return await self._existing(tx, model_id, allow_deleted=True)

    async def get(self, model_id: str, *, allow_deleted: bool) -> LoggedModel:
        """Return a model. Raises NotFound."""
        async with self.db.begin(snapshot=True) as tx:
            return await self._existing(tx, model_id, allow_deleted=allow_deleted)

    async def finalize(self, model_id: str, *, status: str) -> LoggedModel:
        """Set the status. Raises NotFound."""
        async with self.db.begin() as tx:
            await self._change(tx, model_id, status=status)
            return await self._existing(tx, model_id, allow_deleted=True)

    async def delete(self, model_id: str) -> None:
        """Mark a model deleted. Raises NotFound."""
        async with self.db.begin() as tx:
            await self._change(tx, model_id, lifecycle_stage=rules.DELETED)

    async def set_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, over older values. Raises NotFound, InvalidArgument."""
        model.check_tags(tags)
        async with self.db.begin() as tx:
            await _lock(tx, model_id)
            await store.set_tags(tx, model_id, tags)

    async def delete_tag(self, model_id: str, *, key: str) -> None:
        """Raises NotFound if the model does not exist or the tag is not set."""
        async with self.db.begin() as tx:
            await _lock(tx, model_id)
            if not await store.delete_tag(tx, model_id, key=key):
                raise NotFound(f"No tag with key {key!r} found for model with ID {model_id!r}.")

    async def log_params(self, model_id: str, params: Mapping[str, str]) -> None:
        """Log parameters, all or none. Raises NotFound, InvalidArgument if one has another value already."""
        model.check_params(params)
        async with self.db.begin() as tx:
            await _lock(tx, model_id)
            logged = await store.params_of(tx, model_id)
            changed = {key: (logged[key], value) for key, value in params.items() if logged.get(key, value) != value}
            if changed:
                raise model.conflict(model_id, changed)
            await store.add_params(tx, model_id, {key: value for key, value in params.items() if key not in logged})

    async def search(
        self, *, experiment_ids: Sequence[str], filter_text: str, datasets: Sequence[OnDataset],
        order: Sequence[ModelOrder], max_results: int, page_token: str,
    ) -> tuple[list[LoggedModel], str | None]:  # fmt: skip
        """Return a page of active models and the token of the next one. It has fewer models than asked for where more
        are too large for one answer. Raises InvalidArgument.
        """
        if not all(dataset.name for dataset in datasets):
            raise InvalidArgument("`dataset_name` in the `datasets` clause must be specified.")
        page_size = model.page_size(max_results)
        filters = parse_filter(filter_text, LOGGED_MODELS)
        model.check_statuses(filters)
        numbers = [parse_id(experiment_id) for experiment_id in experiment_ids]
        # Another name than that of positions which did not tell NaN.
        query = ["logged-models-2", sorted(numbers), filter_text, repr(datasets), repr(order)]
        position = self.pages.decode(page_token, query) if page_token else None
        async with self.db.begin(snapshot=True) as tx:
            found, positions = await store.search(
                tx,
                experiment_ids=numbers,
                filters=filters,
                datasets=datasets,
                order=order,
                position=position,
                limit=page_size + 1,
            )
            models = await store.with_details(tx, found[:page_size])
        count = fitting(map(model.size, models))
        token = self.pages.encode(positions[count - 1], query) if len(found) > count else None
        return models[:count], token

    async def _existing(self, tx: Tx, model_id: str, *, allow_deleted: bool) -> LoggedModel:
        found = await store.get(tx, model_id)
        if found is None or (found[1] == rules.DELETED and not allow_deleted):
            raise _not_found(model_id)
        return (await store.with_details(tx, [found[0]]))[0]

    async def _change(self, tx: Tx, model_id: str, **values: str) -> None:
        if not await store.change(tx, model_id, **values, last_updated_timestamp_ms=self.now_ms()):
            raise _not_found(model_id)


async def _lock(tx: Tx, model_id: str) -> None:
    if not await store.lock(tx, model_id):
        raise _not_found(model_id)


def _not_found(model_id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{model_id}' not found.")
