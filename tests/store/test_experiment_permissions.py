"""Who holds what on an experiment is kept and told."""

import asyncio
from dataclasses import dataclass

import pytest

from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound
from services.tracking.permissions.model import Level
from services.tracking.permissions.service import ExperimentPermissions, Permissions
from tests.store import factories


@dataclass(frozen=True)
class Entry:
    """A line of an access control list, as a request has it."""

    user_name: str = ""
    group_name: str = ""
    service_principal_name: str = ""
    permission_level: int = Level.CAN_READ


@pytest.fixture
def permissions(db: Database) -> ExperimentPermissions:
    return ExperimentPermissions(db=db)


def _held(found: Permissions) -> list[tuple[str | None, list[str]]]:
    return [
        (
            line.user_name or line.group_name or line.service_principal_name,
            [Level(permission.permission_level).name for permission in line.all_permissions],
        )
        for line in found.access_control_list
    ]


async def test_whoever_creates_an_experiment_manages_it(db: Database, permissions: ExperimentPermissions) -> None:
    experiment_id = await factories.new_experiment(db)

    found = await permissions.get(experiment_id)

    assert _held(found) == [("tester", ["CAN_MANAGE"])]
    assert (found.object_id, found.object_type) == (f"/experiments/{experiment_id}", "mlflowExperiment")


async def test_nobody_in_particular_holds_nothing(db: Database, permissions: ExperimentPermissions) -> None:
    experiment_id = await factories.experiments(db).create(
        name=factories.new_id(), artifact_location="", tags={}, caller="anonymous", request_id=""
    )

    assert _held(await permissions.get(experiment_id)) == []


async def test_a_list_replaces_and_an_update_adds(db: Database, permissions: ExperimentPermissions) -> None:
    experiment_id = await factories.new_experiment(db)

    updated = await permissions.update(experiment_id, [Entry(group_name="g", permission_level=Level.CAN_EDIT)])
    replaced = await permissions.set(experiment_id, [Entry(service_principal_name="ci"), Entry(user_name="ann")])

    assert _held(updated) == [("tester", ["CAN_MANAGE"]), ("g", ["CAN_EDIT"])]
    assert _held(replaced) == [("ann", ["CAN_READ"]), ("ci", ["CAN_READ"])]
    assert await permissions.get(experiment_id) == replaced
    assert _held(await permissions.set(experiment_id, [])) == []


async def test_updates_at_the_same_time_are_all_kept(db: Database, permissions: ExperimentPermissions) -> None:
    experiment_id = await factories.new_experiment(db)

    await asyncio.gather(*[permissions.update(experiment_id, [Entry(user_name=f"u{n}")]) for n in range(10)])

    assert len(_held(await permissions.get(experiment_id))) == 11


async def test_what_is_malformed_or_missing_is_refused(db: Database, permissions: ExperimentPermissions) -> None:
    experiment_id = await factories.new_experiment(db)

    with pytest.raises(InvalidArgument, match="exactly one of"):
        await permissions.set(experiment_id, [Entry()])
    with pytest.raises(InvalidArgument, match="at most 1000 grants"):
        await permissions.update(experiment_id, [Entry(user_name=f"u{n}") for n in range(1000)])
    for ask in (permissions.get, permissions.levels):
        with pytest.raises(NotFound):
            await ask("987654321")
    assert [level.permission_level for level in await permissions.levels(experiment_id)] == list(Level)
