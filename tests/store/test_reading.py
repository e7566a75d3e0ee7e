"""Statements that only read need no transaction, and what they are given arrives as it is."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from services.common.database import Database
from services.common.errors import DeadlineExceeded, Unavailable
from services.local.postgres import EmbeddedPostgres

_TEXTS = ["", "a", "NULL", 'say "hi"', "back\\slash", "a,b", "{x}", " ", "two\nlines", "ünï 🎈", "'", "\\"]
_NUMBERS = [0, -1, 32_768, 2**63 - 1, -(2**63)]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("reading")) as postgres:
        yield postgres


@pytest.fixture
async def db(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    database = Database(postgres.url(), schema="public")
    yield database
    await database.close()


async def _value(db: Database, statement: str, **given: Any) -> Any:
    async with db.reading() as tx:
        row = await (await tx.execute(statement, given)).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", _TEXTS), ("text", []), ("text", ["a", None]), ("bigint", _NUMBERS), ("bigint", []),
        ("bigint", [1, None]), ("boolean", [True, False]), ("float8", [1.5]), ("text", [["a"], ["b"]]),
    ],
)  # fmt: skip
async def test_a_list_arrives_as_it_is(db: Database, kind: str, values: list[Any]) -> None:
    assert await _value(db, f"SELECT %(values)s::{kind}[]", values=values) == values


async def test_a_text_of_a_list_takes_the_type_that_is_wanted(db: Database) -> None:
    keys = ["6a8b3c1e-0000-0000-0000-000000000001"]

    assert [str(key) for key in await _value(db, "SELECT %(keys)s::uuid[]", keys=keys)] == keys


@pytest.mark.parametrize("values", [["a\0b"], [2**63]])
async def test_what_postgres_cannot_hold_is_refused(db: Database, values: list[Any]) -> None:
    with pytest.raises(psycopg.DataError):
        await _value(db, "SELECT %(values)s", values=values)


async def test_a_connection_is_read_with_again_and_never_within_a_transaction(db: Database) -> None:
    first = await _value(db, "SELECT pg_backend_pid()")
    assert await _value(db, "SELECT pg_backend_pid()") == first

    # Each statement has a time of its own; within a transaction, all have one.
    async with db.reading() as tx:
        times = [await (await tx.execute("SELECT now()")).fetchone() for _ in range(2)]

    assert times[0] != times[1]


async def test_a_connection_that_was_in_use_while_all_were_closed_is_not_read_with_again(db: Database) -> None:
    async with db.reading() as tx:
        before = await (await tx.execute("SELECT pg_backend_pid()")).fetchone()
        await db.close()

    assert before is not None
    assert await _value(db, "SELECT pg_backend_pid()") != before[0]


async def test_a_connection_that_failed_reading_opens_transactions_as_before(db: Database) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await _value(db, "SELECT 1 / 0")
    with pytest.raises(ZeroDivisionError):
        async with db.reading():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _begin_in_vain(db)

    assert await _value(db, "SELECT to_regclass('left_behind')") is None


async def _begin_in_vain(db: Database) -> None:
    async with db.pipeline() as tx:
        await tx.execute("CREATE TABLE left_behind ()")
        await (await tx.execute("SELECT 1")).fetchone()
        raise ZeroDivisionError


async def test_a_read_that_is_given_up_leaves_nothing_behind(db: Database) -> None:
    for _ in range(20):
        task = asyncio.create_task(_value(db, "SELECT pg_sleep(60)"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # More than the pool has connections, side by side.
    assert await asyncio.gather(*(_value(db, "SELECT 1") for _ in range(20))) == [1] * 20


async def test_a_read_that_takes_too_long_is_ended(db: Database) -> None:
    async with db.reading() as tx:
        await tx.execute("SET statement_timeout = '10ms'")
    with pytest.raises(DeadlineExceeded):
        await _value(db, "SELECT pg_sleep(60)")


async def test_lost_connections_are_replaced(db: Database) -> None:
    await asyncio.gather(*(_value(db, "SELECT pg_sleep(0.01)") for _ in range(4)))
    async with db.pipeline() as tx:
        await tx.execute(
            "SELECT pg_terminate_backend(pid, 20_000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    with pytest.raises(Unavailable):
        await _value(db, "SELECT 1")

    assert await _value(db, "SELECT 1") == 1
