"""Every change is heard, by name while the connection holds, and as `anything may have changed` when it is new."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from services.common.database import Database
from services.common.notifications import APPLICATION_NAME
from services.registry.events.listener import Listener
from tests.store.registry.factories import CALLER, Registry, new_name

_TERMINATE = """
    SELECT count(pg_terminate_backend(pid))
    FROM pg_stat_activity
    WHERE application_name = %(application_name)s
"""


class Heard:
    """What a listener told, in order."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self._arrived = asyncio.Event()

    def __call__(self, name: str | None) -> None:
        self.names.append(name)
        self._arrived.set()

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not met():
                self._arrived.clear()
                await self._arrived.wait()


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


@pytest.fixture
async def listener(registry_url: str) -> AsyncIterator[Listener]:
    listener = Listener(registry_url)
    listener.start()
    yield listener
    await listener.close()


@pytest.fixture
async def heard(listener: Listener) -> Heard:
    heard = Heard()
    listener.subscribe(heard)
    await heard.until(lambda: heard.names == [None])
    return heard


async def _until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not met():  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0.005)


async def _terminate(db: Database) -> int:
    async with db.pipeline() as tx:
        row = await (await tx.execute(_TERMINATE, {"application_name": APPLICATION_NAME})).fetchone()
    assert row
    return int(row[0])


async def test_a_change_is_told_by_name_once_it_is_committed(registry: Registry, heard: Heard) -> None:
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.aliases.set(name, "champion", version="1", caller=CALLER)

    await heard.until(lambda: heard.names.count(name) == 3)


async def test_a_rename_is_told_under_both_names(registry: Registry, heard: Heard) -> None:
    name, renamed = await registry.new_model(), new_name()
    await heard.until(lambda: name in heard.names)
    heard.names.clear()

    await registry.models.rename(name, new_name=renamed, caller=CALLER)

    await heard.until(lambda: {name, renamed} <= set(heard.names))


async def test_a_lost_connection_is_replaced_and_anything_may_have_changed(
    registry: Registry, registry_db: Database, listener: Listener, heard: Heard
) -> None:
    for round_number in range(2, 5):
        # One that another test has left may be about to end.
        assert await _terminate(registry_db) >= 1
        await heard.until(lambda count=round_number: heard.names.count(None) == count)  # type: ignore[misc]

        name = await registry.new_model()

        await heard.until(lambda name=name: name in heard.names)  # type: ignore[misc]
        await _until(lambda: listener.hears)


async def test_no_more_is_vouched_for_when_the_connection_is_lost(
    registry_db: Database, listener: Listener, heard: Heard
) -> None:
    await _until(lambda: listener.hears)
    seen: list[bool] = []
    listener.subscribe(lambda name: seen.append(listener.hears))

    await _terminate(registry_db)
    await heard.until(lambda: heard.names == [None, None])

    assert seen == [False]


async def test_nothing_is_vouched_for_while_postgres_does_not_answer(registry_url: str) -> None:
    now = 0.0
    listener = Listener(registry_url, clock=lambda: now)
    listener.start()
    await _until(lambda: listener.hears)

    now = 0.249
    heard_in_time = listener.hears
    now = 0.5
    heard_late = listener.hears
    await _until(lambda: listener.hears)
    await listener.close()

    assert (heard_in_time, heard_late) == (True, False)


async def test_who_has_unsubscribed_hears_nothing(registry: Registry, listener: Listener, heard: Heard) -> None:
    other = Heard()
    listener.subscribe(other)()

    name = await registry.new_model()

    await heard.until(lambda: name in heard.names)
    assert other.names == []


async def test_a_subscriber_that_fails_does_not_end_the_listening(
    registry: Registry, listener: Listener, heard: Heard
) -> None:
    def fail(name: str | None) -> None:
        unsubscribe()
        raise ValueError(name)

    unsubscribe = listener.subscribe(fail)
    await registry.new_model()
    await heard.until(lambda: heard.names.count(None) == 2)

    name = await registry.new_model()

    await heard.until(lambda: name in heard.names)
