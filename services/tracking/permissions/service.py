"""Who holds what on experiments: one public method is one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common.database import Database, Driver
from services.common.errors import NotFound
from services.common.grants import AccessControl, Description, Entry, check_count, parse
from services.tracking.experiments import store as experiments_store
from services.tracking.experiments.model import parse_id
from services.tracking.permissions import model, store
from services.tracking.permissions.model import Grants, Level


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """Who holds what on the experiment at `object_id`."""

    object_id: str
    access_control_list: list[AccessControl]
    object_type: str = "mlflowExperiment"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentPermissions:
    """The use-cases."""

    db: Database

    async def get(self, experiment_id: str) -> Permissions:
        """Return who holds what. Raises NotFound, InvalidArgument."""
        async with self.db.pipeline() as tx:
            number = await _existing(tx, experiment_id)
            return _answer(number, await store.grants_of(tx, number))

    async def set(self, experiment_id: str, entries: Sequence[Entry]) -> Permissions:
        """Make these the grants, and no others. Raises NotFound, InvalidArgument."""
        grants = parse(entries, Level)
        return await self._change(experiment_id, lambda _: grants)

    async def update(self, experiment_id: str, entries: Sequence[Entry]) -> Permissions:
        """Grant this besides or instead of what the same principals hold. Raises NotFound, InvalidArgument."""
        grants = parse(entries, Level)
        return await self._change(experiment_id, lambda before: {**before, **grants})

    async def levels(self, experiment_id: str) -> list[Description]:
        """Return what each level is for, lowest first. Raises NotFound, InvalidArgument."""
        async with self.db.pipeline() as tx:
            await _existing(tx, experiment_id)
        return model.descriptions()

    async def _change(self, experiment_id: str, wanted: Callable[[Grants], Grants]) -> Permissions:
        async with self.db.pipeline() as tx:
            number = await _existing(tx, experiment_id, hold=True)
            after = wanted(await store.grants_of(tx, number))
            check_count(after)
            await store.replace(tx, number, after)
        return _answer(number, after)


async def _existing(tx: Driver, experiment_id: str, *, hold: bool = False) -> int:
    """Return the number of an experiment, deleted or not; with `hold` nobody else changes it until the transaction
    ends. Raises NotFound, InvalidArgument.
    """
    number = parse_id(experiment_id)
    if not await experiments_store.exists(tx, number, hold=hold):
        raise NotFound(f"No Experiment with id={number} exists")
    return number


def _answer(number: int, grants: Grants) -> Permissions:
    return Permissions(object_id=f"/experiments/{number}", access_control_list=model.shown(grants))
