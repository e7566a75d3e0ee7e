"""A call that is cancelled, at whichever of its steps, leaves no connection that does not answer any more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy

from services.common.database import Database

_ONE = sqlalchemy.text("SELECT 1")
# More than either way has.
_STEPS = 60


@pytest.fixture
async def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    # After each step that need not wait psycopg lets others go on, as otherwise only where it was busy for long.
    monkeypatch.setattr("psycopg.waiting.MAX_BUSY_TIME", 0)
    database = Database(database_url, schema="tracking")
    yield database
    await database.close()


async def _by_pipeline(database: Database) -> None:
    async with database.pipeline(snapshot=True) as tx:
        await (await tx.execute("SELECT 1")).fetchone()


async def _by_begin(database: Database) -> None:
    async with database.begin() as tx:
        await tx.scalar(_ONE)


async def _by_reading(database: Database) -> None:
    async with database.reading() as tx:
        await (await tx.execute("SELECT 1")).fetchone()


async def _check_all(database: Database) -> None:
    async with database.begin() as tx:
        assert await tx.scalar(_ONE) == 1
    async with database.pipeline() as driver:
        assert await (await driver.execute("SELECT 1")).fetchone() == (1,)
    async with database.reading() as driver:
        assert await (await driver.execute("SELECT 1")).fetchone() == (1,)


@pytest.mark.parametrize("call", [_by_pipeline, _by_begin, _by_reading])
async def test_a_cancelled_call_leaves_no_connection_that_does_not_answer(
    database: Database, call: Callable[[Database], Awaitable[None]]
) -> None:
    # So that there are connections, and no call begins with the making of one.
    for _ in range(2):
        await _check_all(database)
    for steps in range(_STEPS):
        under_way = asyncio.ensure_future(call(database))
        for _ in range(steps):
            await asyncio.sleep(0)

        under_way.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await under_way

        await _check_all(database)
