"""What a name stands for: read once for many, true within its bound, and never going back."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound, Unavailable
from services.registry.events.listener import Listener
from services.registry.lookups import store
from services.registry.lookups.cache import States
from services.registry.lookups.model import ModelState, Resolved, Selector
from services.registry.lookups.service import Lookups
from tests.store.registry.factories import CALLER, SOURCE, Registry, new_name

CHAMPION = Selector(alias="champion")


@dataclass
class Reads:
    """A database that is read through `lookups.store`, and what was asked of it. While `held`, answers wait."""

    db: Database
    names: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.held.set()

    async def __call__(self, names: Sequence[str]) -> Mapping[str, ModelState]:
        self.names += names
        async with self.db.pipeline() as tx:
            states = await store.states(tx, names)
        self.begun.set()
        await self.held.wait()
        return states


@dataclass
class Ear:
    """A listener that hears what a test says."""

    hears: bool = True

    def subscribe(self, callback: object) -> None:
        pass


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


@pytest.fixture
async def listener(registry_url: str) -> AsyncIterator[Listener]:
    listener = Listener(registry_url)
    listener.start()
    async with asyncio.timeout(60):
        while not listener.hears:  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0.005)
    yield listener
    await listener.close()


@pytest.fixture
def lookups(registry_db: Database, listener: Listener) -> Lookups:
    return Lookups(registry_db, listener)


@pytest.fixture
def reads(registry_db: Database) -> Reads:
    return Reads(registry_db)


async def _champion(registry: Registry, versions: int = 2) -> str:
    name = await registry.new_model()
    for _ in range(versions):
        await registry.new_version(name)
    await registry.aliases.set(name, "champion", version="1", caller=CALLER)
    return name


async def _resolve(
    lookups: Lookups, name: str, selector: Selector = CHAMPION, *, min_revision: int = 0, strict: bool = False
) -> Resolved:
    return await lookups.resolve(name, selector, min_revision=min_revision, strict=strict)


async def test_a_state_has_what_aliases_and_stages_stand_for_and_the_newest(
    registry: Registry, registry_db: Database
) -> None:
    name = await _champion(registry, versions=6)
    await registry.transition(name, "3", "Production")
    await registry.transition(name, "2", "Production")
    await registry.versions.set_tag(name, "3", key="a", value="b", caller=CALLER)

    async with registry_db.pipeline() as tx:
        state = (await store.states(tx, [name]))[name]

    assert [version.version for version in state.versions] == ["1", "3", "6"]
    assert (state.exists, state.latest_version, state.revision) == (True, "6", 11)
    production = state.versions[1]
    assert (production.current_stage, production.tags, production.download_uri) == ("Production", {"a": "b"}, SOURCE)
    assert state.versions[0].aliases == ["champion"]
    assert state.change_timestamp is not None


@pytest.mark.parametrize(
    ("selector", "version"),
    [
        (CHAMPION, "1"),
        (Selector(alias="LATEST"), "4"),
        (Selector(stage="production"), "3"),
        (Selector(stage="None"), "4"),
        (Selector(version="2"), "2"),
        (Selector(version="02"), "2"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
async def test_an_alias_a_stage_and_a_number_are_resolved(
    registry: Registry, lookups: Lookups, selector: Selector, version: str, strict: bool
) -> None:
    name = await _champion(registry, versions=4)
    await registry.transition(name, "2", "Production")
    await registry.transition(name, "3", "Production")

    found = [await _resolve(lookups, name, selector, strict=strict) for _ in range(2)]

    assert [(answer.model_version.version, answer.revision) for answer in found] == [(version, 8)] * 2


@pytest.mark.parametrize(
    "selector", [Selector(alias="none"), Selector(stage="Staging"), Selector(version="9"), Selector(version="-1")]
)
async def test_what_is_not_there_is_not_found(registry: Registry, lookups: Lookups, selector: Selector) -> None:
    name = await _champion(registry)

    with pytest.raises(NotFound, match="has no version for"):
        await _resolve(lookups, name, selector)
    with pytest.raises(NotFound, match=r"name=[0-9a-f]+ not found"):
        await _resolve(lookups, new_name(), selector)


@pytest.mark.parametrize(
    "selector", [Selector(), Selector("champion", "Production"), Selector("champion", version="1"), Selector("a.b")]
)
async def test_a_malformed_question_is_refused(registry: Registry, lookups: Lookups, selector: Selector) -> None:
    name = await _champion(registry)
    await _resolve(lookups, name)

    with pytest.raises(InvalidArgument):
        await _resolve(lookups, name, selector)


async def test_a_thousand_who_miss_make_one_read(registry: Registry, reads: Reads) -> None:
    name = await _champion(registry)
    states = States(reads, Ear())  # type: ignore[arg-type]

    found = await asyncio.gather(*(states.fresh(name) for _ in range(1000)))

    assert reads.names == [name]
    assert {state.revision for state in found} == {4}
    assert states.peek(name) is found[0]


async def test_who_asks_while_a_read_is_under_way_gets_a_later_one(registry: Registry, reads: Reads) -> None:
    name = await _champion(registry)
    states = States(reads, Ear())  # type: ignore[arg-type]
    reads.held.clear()
    early = asyncio.create_task(states.fresh(name))
    await reads.begun.wait()

    await registry.aliases.set(name, "champion", version="2", caller=CALLER)
    late = asyncio.create_task(states.fresh(name))
    await asyncio.sleep(0)
    reads.held.set()

    assert [(await early).revision, (await late).revision] == [4, 5]
    assert reads.names == [name, name]


async def test_what_changed_while_it_was_read_is_not_kept_as_true(registry: Registry, reads: Reads) -> None:
    name = await _champion(registry)
    states = States(reads, Ear())  # type: ignore[arg-type]
    reads.held.clear()
    asked = asyncio.create_task(states.fresh(name))
    await reads.begun.wait()

    states.forget(name)
    reads.held.set()
    await asked

    assert states.peek(name) is None


@pytest.mark.parametrize("whose", ["its own", "any"])
async def test_a_change_that_is_heard_ends_what_is_kept(registry: Registry, reads: Reads, whose: str) -> None:
    name = await _champion(registry)
    states = States(reads, Ear())  # type: ignore[arg-type]
    await states.fresh(name)

    states.forget(name if whose == "its own" else None)

    assert states.peek(name) is None


async def test_nothing_is_told_from_memory_while_nothing_is_heard(registry: Registry, reads: Reads) -> None:
    name, ear = await _champion(registry), Ear()
    states = States(reads, ear)  # type: ignore[arg-type]
    await states.fresh(name)

    ear.hears = False

    assert states.peek(name) is None


async def test_an_older_revision_never_follows_a_newer_one(registry: Registry, reads: Reads) -> None:
    name = await _champion(registry)
    async with reads.db.pipeline() as tx:
        old = await store.states(tx, [name])
    await registry.aliases.set(name, "champion", version="2", caller=CALLER)
    answers = [None, old]

    async def read(names: Sequence[str]) -> Mapping[str, ModelState]:
        return answers.pop(0) or await reads(names)

    states = States(read, Ear())  # type: ignore[arg-type]
    new = await states.fresh(name)

    assert await states.fresh(name) is new
    assert states.peek(name) is None


async def test_what_is_kept_is_bounded_in_number_and_bytes(registry: Registry, reads: Reads) -> None:
    names = [await registry.new_model() for _ in range(4)]
    large = await registry.new_model()
    await registry.new_version(large, description="x" * 50_000)
    states = States(reads, Ear(), models_max=3, bytes_max=60_000)  # type: ignore[arg-type]
    for name in names[:3]:
        await states.fresh(name)
    assert states.peek(names[0])

    await states.fresh(names[3])
    assert [name for name in names if states.peek(name)] == [names[0], *names[2:]]

    await states.fresh(large)
    assert [name for name in (*names, large) if states.peek(name)] == [large]


async def test_under_a_name_revisions_rise_whether_a_model_has_it_or_not(
    registry: Registry, registry_db: Database
) -> None:
    name, other = new_name(), new_name()
    seen: list[tuple[int, bool]] = []

    async def look() -> None:
        async with registry_db.pipeline() as tx:
            state = (await store.states(tx, [name]))[name]
        seen.append((state.revision, state.exists))

    await look()
    await registry.new_model(name)
    await look()
    await registry.models.rename(name, new_name=other, caller=CALLER)
    await look()
    await registry.new_model(name)
    await look()
    await registry.models.delete(name, caller=CALLER)
    await look()
    await registry.models.rename(other, new_name=name, caller=CALLER)
    await look()

    assert [exists for _, exists in seen] == [False, True, False, True, False, True]
    revisions = [revision for revision, _ in seen]
    assert revisions == sorted(set(revisions))


async def test_a_revision_that_a_model_has_not_reached_is_unavailable(registry: Registry, lookups: Lookups) -> None:
    name = await _champion(registry)

    assert (await _resolve(lookups, name, min_revision=4)).revision == 4
    with pytest.raises(Unavailable, match="is at revision 4, not 5"):
        await _resolve(lookups, name, min_revision=5)


async def test_with_the_revision_of_another_replica_its_change_is_seen(
    registry: Registry, registry_db: Database, listener: Listener
) -> None:
    name = await _champion(registry)
    deaf = Lookups(registry_db, Ear())  # type: ignore[arg-type]
    await _resolve(deaf, name)

    await registry.aliases.set(name, "champion", version="2", caller=CALLER)

    assert (await _resolve(deaf, name)).revision == 4
    assert (await _resolve(deaf, name, min_revision=5)).model_version.version == "2"
    assert (await _resolve(deaf, name)).revision == 5


async def test_strictly_and_by_alias_every_acknowledged_change_is_seen(
    registry: Registry, registry_db: Database
) -> None:
    name = await _champion(registry)
    deaf = Lookups(registry_db, Ear())  # type: ignore[arg-type]

    for number in ("2", "1") * 10:
        await registry.aliases.set(name, "champion", version=number, caller=CALLER)
        assert (await deaf.by_alias(name, "champion")).model_version.version == number
        assert (await _resolve(deaf, name, strict=True)).model_version.version == number


async def test_by_alias_a_change_that_changes_nothing_is_seen_too(registry: Registry, registry_db: Database) -> None:
    name = await _champion(registry)
    deaf = Lookups(registry_db, Ear())  # type: ignore[arg-type]
    before = await deaf.by_alias(name, "champion")

    after = await registry.transition(name, "1", "None")

    found = (await deaf.by_alias(name, "champion")).model_version
    assert found.last_updated_timestamp == after.last_updated_timestamp
    assert found.last_updated_timestamp > before.model_version.last_updated_timestamp


async def test_by_alias_many_share_one_look(registry: Registry, registry_db: Database) -> None:
    name = await _champion(registry)
    lookups = Lookups(registry_db, Ear())  # type: ignore[arg-type]
    first = await lookups.by_alias(name, "champion")

    found = await asyncio.gather(*(lookups.by_alias(name, "champion") for _ in range(500)))

    assert {id(answer) for answer in found} == {id(first)}


async def test_a_version_by_its_number_is_read_once(registry: Registry, registry_db: Database) -> None:
    name = await _champion(registry, versions=5)
    lookups = Lookups(registry_db, Ear())  # type: ignore[arg-type]

    first = await _resolve(lookups, name, Selector(version="3"))

    assert await _resolve(lookups, name, Selector(version="3")) is first


async def test_a_change_is_seen_through_the_listener(registry: Registry, lookups: Lookups) -> None:
    name = await _champion(registry)
    await _resolve(lookups, name)

    await registry.aliases.set(name, "champion", version="2", caller=CALLER)

    async with asyncio.timeout(60):
        while (await _resolve(lookups, name)).model_version.version != "2":  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0)
