"""What can be done with experiments: one public method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.common import idempotency
from services.common.artifact_stores import NO_STORES, Stores
from services.common.auth import ANONYMOUS
from services.common.database import Database, Driver, Tx, driver_of
from services.common.errors import AlreadyExists, InvalidArgument, NotFound
from services.common.filters import parse_filter, parse_order_by
from services.common.grants import Principal, PrincipalKind
from services.common.pages import PageTokens
from services.tracking import rules
from services.tracking.experiments import model, store
from services.tracking.experiments.model import Experiment
from services.tracking.experiments.search_grammar import EXPERIMENTS
from services.tracking.permissions import store as permissions_store
from services.tracking.permissions.model import Level

_DEFAULT_ORDER = ("creation_time DESC", "experiment_id ASC")


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiments:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch; `artifact_root` is a URI.

    `stores` are those beside the platform's own in which an experiment's artifacts may be.
    """

    db: Database
    pages: PageTokens
    artifact_root: str
    now_ms: Callable[[], int]
    stores: Stores = NO_STORES

    async def ensure_default(self) -> None:
        """Create the experiment `Default` with the id 0 unless it exists."""
        async with self.db.begin() as tx:
            await store.add(tx, self._new(model.DEFAULT_EXPERIMENT_ID, "Default", "", {}))

    async def create(
        self, *, name: str, artifact_location: str, tags: Mapping[str, str], caller: str, request_id: str
    ) -> str:
        """Create an experiment, which the caller may manage, and return its id. Raises InvalidArgument,
        AlreadyExists.
        """
        model.check_name(name)
        if artifact_location:
            model.check_artifact_location(artifact_location, self.stores)
        for key, value in tags.items():
            model.check_tag(key, value)

        async with self.db.begin() as tx:

            async def create() -> str:
                experiment = self._new(await store.next_id(tx), name, artifact_location, tags)
                if not await store.add(tx, experiment):
                    raise AlreadyExists(f"Experiment(name={name}) already exists.")
                if caller != ANONYMOUS.name:
                    creator = {Principal(kind=PrincipalKind.USER, name=caller): Level.CAN_MANAGE}
                    number = int(experiment.experiment_id)
                    await permissions_store.replace(await driver_of(tx), number, creator)
                return experiment.experiment_id

            return await idempotency.once(
                await driver_of(tx),
                caller=caller,
                operation="CreateExperiment",
                request_id=request_id,
                fingerprint=idempotency.fingerprint(name, artifact_location, sorted(tags.items())),
                create=create,
            )

    async def get(self, experiment_id: str) -> Experiment:
        """Return an experiment, deleted or not. Raises NotFound."""
        async with self.db.begin() as tx:
            return await self._existing(tx, experiment_id)

    async def get_by_name(self, name: str) -> Experiment:
        """Return an experiment, deleted or not. Raises NotFound."""
        async with self.db.begin() as tx:
            experiment = await store.get_by_name(tx, name)
        if experiment is None:
            raise NotFound(f"Could not find experiment with name '{name}'")
        return experiment

    async def search(
        self, *, view: int, filter_text: str, order_by: Sequence[str], max_results: int, page_token: str
    ) -> tuple[list[Experiment], str | None]:
        """Return a page of experiments and the token of the next one. Raises InvalidArgument."""
        rules.check_page_size(max_results)
        filters = parse_filter(filter_text, EXPERIMENTS)
        order = parse_order_by(order_by or _DEFAULT_ORDER, EXPERIMENTS, unique=False)
        query = ["experiments", view, filter_text, list(order_by)]
        position = self.pages.decode(page_token, query) if page_token else None
        async with self.db.begin() as tx:
            found, positions = await store.search(
                tx,
                stages=rules.STAGES_OF_VIEW[view],
                filters=filters,
                order=order,
                position=position,
                limit=max_results + 1,
            )
        if len(found) <= max_results:
            return found, None
        return found[:max_results], self.pages.encode(positions[max_results - 1], query)

    async def rename(self, experiment_id: str, *, name: str) -> None:
        """Raises InvalidArgument, also if deleted, NotFound, AlreadyExists."""
        model.check_name(name)
        async with self.db.begin() as tx:
            experiment = await self._existing(tx, experiment_id, lock=True)
            if experiment.lifecycle_stage != rules.ACTIVE:
                raise InvalidArgument("Cannot rename a non-active experiment.")
            if not await store.rename(tx, int(experiment.experiment_id), name=name, now_ms=self.now_ms()):
                raise AlreadyExists(f"Experiment(name={name}) already exists.")

    async def delete(self, experiment_id: str) -> None:
        """Delete an active experiment and its runs. Raises NotFound."""
        await self._move(experiment_id, old=rules.ACTIVE, new=rules.DELETED)

    async def restore(self, experiment_id: str) -> None:
        """Restore a deleted experiment and its runs. Raises NotFound."""
        await self._move(experiment_id, old=rules.DELETED, new=rules.ACTIVE)

    async def set_tag(self, experiment_id: str, *, key: str, value: str) -> None:
        """Raises InvalidArgument if the tag is malformed or the experiment is deleted, NotFound."""
        model.check_tag(key, value)
        async with self.db.begin() as tx:
            experiment = await self._existing(tx, experiment_id, lock=True)
            experiment.check_active()
            model.check_custom_views({**experiment.tags, key: value}, experiment_id=experiment.experiment_id)
            await store.set_tag(tx, int(experiment.experiment_id), key=key, value=value)

    async def delete_tag(self, experiment_id: str, *, key: str) -> None:
        """Raises NotFound if the experiment or the tag does not exist, InvalidArgument if it is deleted."""
        async with self.db.begin() as tx:
            experiment = await self._existing(tx, experiment_id, lock=True)
            experiment.check_active()
            if not await store.delete_tag(tx, int(experiment.experiment_id), key=key):
                raise NotFound(f"No tag with name: {key} in experiment with id {experiment_id}")

    async def target(self, tx: Driver, number: int, *, name: str) -> Experiment:
        """Return an active experiment for something new in it, within the transaction: that of the name, which is
        created if there is none, else the one of the number. Raises NotFound, InvalidArgument if it is deleted.
        """
        if name:
            experiment = await store.named_target(tx, name)
            if experiment is None:
                await store.new_target(tx, lambda number: self._new(number, name, "", {}))
                # Of somebody else, who created it at the same time, this waits for.
                experiment = await store.named_target(tx, name)
        else:
            experiment = await store.target(tx, number)
        if experiment is None:
            raise _not_found(name or number)
        experiment.check_active()
        return experiment

    async def _move(self, experiment_id: str, *, old: str, new: str) -> None:
        now_ms = self.now_ms()
        async with self.db.begin() as tx:
            experiment = await self._existing(tx, experiment_id, lock=True)
            if experiment.lifecycle_stage != old:
                raise _not_found(experiment.experiment_id)
            deleted_time = now_ms if new == rules.DELETED else None
            if not await store.set_stage(
                tx, int(experiment.experiment_id), stage=new, deleted_time=deleted_time, now_ms=now_ms
            ):
                raise _not_found(experiment.experiment_id)

    async def _existing(self, tx: Tx, experiment_id: str, *, lock: bool = False) -> Experiment:
        number = model.parse_id(experiment_id)
        experiment = await store.get(tx, number, lock=lock)
        if experiment is None:
            raise _not_found(number)
        return experiment

    def _new(self, number: int, name: str, artifact_location: str, tags: Mapping[str, str]) -> Experiment:
        now_ms = self.now_ms()
        model.check_custom_views(tags)
        return Experiment(
            experiment_id=str(number),
            name=name,
            artifact_location=artifact_location or rules.join_uri(self.artifact_root, str(number)),
            lifecycle_stage=rules.ACTIVE,
            creation_time=now_ms,
            last_update_time=now_ms,
            workspace="default",
            tags=dict(tags),
        )


def _not_found(number: int | str) -> NotFound:
    return NotFound(f"No Experiment with id={number} exists")
