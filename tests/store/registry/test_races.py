"""Callers at the same time: numbers, aliases, stages and names stay what they must be."""

import asyncio
import itertools
from collections import Counter

import pytest

from services.common.auth import Caller
from services.common.database import Database
from services.common.errors import AlreadyExists, Conflict, NotFound, ServiceError
from services.registry.__main__ import SCHEMA
from services.registry.activities.model import Activity
from services.registry.model_versions.model import ModelVersion
from services.registry.releases.model import ReleaseMove
from services.registry.transitions.model import Expected
from tests.store.registry import factories
from tests.store.registry.factories import Registry


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


async def test_64_creates_at_once_are_numbered_1_to_64(registry: Registry, registry_url: str) -> None:
    name = await registry.new_model()
    # Several services, as replicas would be: they share nothing but the database.
    databases = [Database(registry_url, schema=SCHEMA) for _ in range(4)]
    replicas = [Registry.over(database) for database in databases]

    made = await asyncio.gather(*(replicas[number % 4].new_version(name) for number in range(64)))

    assert sorted(int(version.version) for version in made) == list(range(1, 65))
    events = await factories.events_of(databases[0], name)
    assert [event["revision"] for event in events] == list(range(1, 66))
    # Events tell of the versions in the order of their numbers, because one lock orders both.
    assert [event["version"] for event in events] == [None, *range(1, 65)]
    await asyncio.gather(*(database.close() for database in databases))


async def test_one_of_many_takes_a_name(registry: Registry) -> None:
    name = factories.new_name()

    outcomes = await asyncio.gather(*(registry.new_model(name) for _ in range(16)), return_exceptions=True)

    assert Counter(type(outcome) for outcome in outcomes) == {str: 1, AlreadyExists: 15}


async def test_a_key_creates_once_however_many_try_at_once(registry: Registry) -> None:
    name = await registry.new_model()

    made = await asyncio.gather(*(registry.new_version(name, request_id="key-" + name) for _ in range(16)))

    assert {version.version for version in made} == {"1"}


async def test_archiving_leaves_one_version_in_production(registry: Registry) -> None:
    name = await registry.new_model()
    versions = [(await registry.new_version(name)).version for _ in range(12)]

    await asyncio.gather(*(registry.transition(name, version, "Production", archive=True) for version in versions))

    stages = [(await registry.versions.get(name, version)).current_stage for version in versions]
    assert Counter(stages) == {"Production": 1, "Archived": 11}


async def test_transitions_are_told_from_and_to_as_they_happened(registry: Registry, registry_db: Database) -> None:
    name = await registry.new_model()
    version = (await registry.new_version(name)).version
    stages = ["Staging", "Production", "Archived", "None"] * 6

    await asyncio.gather(*(registry.transition(name, version, stage) for stage in stages))

    moves = [
        event["changes"]["current_stage"]
        for event in await factories.events_of(registry_db, name)
        if event["kind"] == "MODEL_VERSION_TRANSITIONED_STAGE"
    ]
    assert moves[0]["from"] == "None"
    assert all(before["to"] == after["from"] for before, after in itertools.pairwise(moves))
    assert moves[-1]["to"] == (await registry.versions.get(name, version)).current_stage


async def test_an_alias_never_names_a_version_that_is_gone(registry: Registry) -> None:
    name = await registry.new_model()
    versions = [(await registry.new_version(name)).version for _ in range(10)]

    outcomes = await asyncio.gather(
        *(registry.aliases.set(name, "champion", version=version, caller=Caller(name="a")) for version in versions),
        *(registry.versions.delete(name, version, caller=Caller(name="b")) for version in versions),
        return_exceptions=True,
    )

    assert all(outcome is None or isinstance(outcome, NotFound) for outcome in outcomes)
    with pytest.raises(ServiceError, match="alias champion not found"):
        await registry.aliases.get(name, "champion")


async def test_an_alias_is_told_from_and_to_as_it_moved(registry: Registry, registry_db: Database) -> None:
    name = await registry.new_model()
    versions = [(await registry.new_version(name)).version for _ in range(5)]

    await asyncio.gather(
        *(registry.aliases.set(name, "champion", version=version, caller=Caller(name="a")) for version in versions * 4)
    )

    moves = [
        event["changes"]["aliases.champion"]
        for event in await factories.events_of(registry_db, name)
        if event["kind"] == "REGISTERED_MODEL_ALIAS_SET"
    ]
    assert "from" not in moves[0]
    assert all(before["to"] == after["from"] for before, after in itertools.pairwise(moves))
    assert str(moves[-1]["to"]) == (await registry.aliases.get(name, "champion")).version


async def test_a_rename_under_load_loses_nothing(registry: Registry) -> None:
    names = [await registry.new_model(), factories.new_name()]
    made: list[int] = []
    done = asyncio.Event()

    async def create() -> None:
        while not done.is_set():
            for name in names:
                try:
                    made.append(int((await registry.new_version(name)).version))
                except NotFound:
                    continue

    async def rename() -> None:
        for turn in range(20):
            old, new = names[turn % 2], names[1 - turn % 2]
            await registry.models.rename(old, new_name=new, caller=Caller(name="a"))
        done.set()

    await asyncio.gather(rename(), *(create() for _ in range(4)))

    found, _ = await registry.versions.search(
        filter_text=f"name = '{names[0]}'",
        order_by=["version_number"],
        max_results=10_000,
        page_token="",
        caller=factories.CALLER,
    )
    assert made
    assert [int(version.version) for version in found] == sorted(made) == list(range(1, len(made) + 1))


async def test_two_renames_to_one_name_leave_both_models(registry: Registry) -> None:
    names = [await registry.new_model() for _ in range(8)]
    wanted = factories.new_name()

    outcomes = await asyncio.gather(
        *(registry.models.rename(name, new_name=wanted, caller=Caller(name="a")) for name in names),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == 7
    left, _ = await registry.models.search(
        filter_text=f"name IN ({', '.join(repr(name) for name in [*names, wanted])})",
        order_by=[], max_results=100, page_token="", caller=factories.CALLER,
    )  # fmt: skip
    assert len(left) == 8


async def test_of_64_who_expect_an_alias_where_it_is_one_moves_it(registry: Registry) -> None:
    name = await registry.new_model()
    versions = [(await registry.new_version(name)).version for _ in range(64)]

    for expected in ("", "7"):
        outcomes = await asyncio.gather(
            *(
                registry.aliases.set(
                    name, "champion", version=version, caller=Caller(name="a"), expected=Expected(version=expected)
                )
                for version in versions
                if version != expected
            ),
            return_exceptions=True,
        )

        conflicts = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
        assert len(conflicts) == len(outcomes) - 1
        (winner,) = (
            version for version, outcome in zip(_but(versions, expected), outcomes, strict=True) if not outcome
        )
        assert (await registry.aliases.get(name, "champion")).version == winner
        found = f"Alias champion of model {name} has version {winner}, not "
        assert {conflict.message.startswith(found) for conflict in conflicts} == {True}
        await registry.aliases.set(name, "champion", version="7", caller=Caller(name="a"))


async def test_of_64_who_expect_a_stage_as_it_is_one_takes_it(registry: Registry) -> None:
    name = await registry.new_model()
    versions = [(await registry.new_version(name)).version for _ in range(64)]

    outcomes = await asyncio.gather(
        *(
            registry.transition(name, version, "Production", archive=True, expected=Expected(version=""))
            for version in versions
        ),
        return_exceptions=True,
    )

    assert Counter(type(outcome) for outcome in outcomes) == {ModelVersion: 1, Conflict: 63}
    stages = [(await registry.versions.get(name, version)).current_stage for version in versions]
    assert Counter(stages) == {"Production": 1, "None": 63}


async def test_of_64_who_expect_a_version_in_its_stage_one_moves_it(registry: Registry) -> None:
    name = await registry.new_model()
    await registry.new_version(name)

    outcomes = await asyncio.gather(
        *(registry.transition(name, "1", "Staging", expected=Expected(stage="none")) for _ in range(64)),
        return_exceptions=True,
    )

    assert Counter(type(outcome) for outcome in outcomes) == {ModelVersion: 1, Conflict: 63}
    told = {outcome.message for outcome in outcomes if isinstance(outcome, Conflict)}
    assert told == {f"Model Version (name={name}, version=1) is in stage Staging, not in 'none' as if_stage expects."}


async def test_releases_of_the_same_models_in_any_order_wait_for_each_other(registry: Registry) -> None:
    names = [await registry.new_model() for _ in range(4)]
    for name in names:
        await registry.new_version(name)
    orders = [names, names[::-1], names[2:] + names[:2], [names[1], names[3], names[0], names[2]]]

    outcomes = await asyncio.gather(
        *(
            registry.releases.create(
                [_release_move(name, stage) for name in order], comment="", caller=Caller(name="a")
            )
            for stage in ("Staging", "Production", "Archived")
            for order in orders
        ),
        return_exceptions=True,
    )

    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    assert len({(await registry.versions.get(name, "1")).current_stage for name in names}) == 1


def _release_move(name: str, stage: str) -> ReleaseMove:
    return ReleaseMove(name=name, version="1", stage=stage, expected=Expected(), archive_existing_versions=False)


def _but(versions: list[str], one: str) -> list[str]:
    return [version for version in versions if version != one]


async def test_of_many_last_approvals_one_moves_the_version(registry: Registry, registry_db: Database) -> None:
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.set_policy(name, "rules: {Production: {approvals: 3}}")
    await registry.request(name, "1", "Production")

    outcomes = await asyncio.gather(
        *(registry.approve(name, "1", "Production", caller=Caller(name=f"a{number}")) for number in range(16)),
        return_exceptions=True,
    )

    assert Counter(type(outcome) for outcome in outcomes) == {Activity: 3, NotFound: 13}
    moves = [event for event in await factories.events_of(registry_db, name) if "TRANSITIONED" in event["kind"]]
    assert len(moves) == 1
