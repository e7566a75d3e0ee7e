"""The URL of a database that changes while a service runs."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg import sql

from services.common.database import Database
from services.common.errors import Unavailable
from services.common.secret_files import Secret

_ONE = sqlalchemy.text("SELECT 1")


async def test_new_connections_take_the_first_url_that_lets_them_in(tmp_path: Path, database_url: str) -> None:
    file = tmp_path / "url"
    file.write_text(database_url)
    database = Database(Secret.of_file(file), schema="tracking")
    wrong = sqlalchemy.make_url(database_url).set(password="wrong").render_as_string(hide_password=False)

    file.write_text(f"{wrong}\n{database_url}\n")
    assert await _answer(database) == 1
    file.write_text("not a URL")
    assert await _answer(database) == 1
    file.write_text(wrong)
    with pytest.raises(Unavailable):
        await _answer(database)
    file.write_text(database_url)
    assert await _answer(database) == 1
    await database.close()


async def test_a_password_that_is_exchanged_between_two_attempts_lets_in(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = sqlalchemy.make_url(database_url)
    new = old.set(password="exchanged").render_as_string(hide_password=False)
    file = tmp_path / "url"
    file.write_text(f"{new}\n{database_url}\n")
    database = Database(Secret.of_file(file), schema="tracking")
    connect, attempts = psycopg.AsyncConnection.connect, []

    async def connect_and_exchange(*arguments: Any, **options: Any) -> Any:
        try:
            return await connect(*arguments, **options)
        finally:
            attempts.append(options["password"])
            if len(attempts) == 1:
                _alter(database_url, "exchanged")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect_and_exchange)
    try:
        assert await _answer(database) == 1
    finally:
        _alter(new, str(old.password))
        await database.close()

    assert attempts == ["exchanged", old.password, "exchanged"]


def _alter(url: str, password: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))


async def _answer(database: Database) -> object:
    """Ask by a new connection."""
    await database.close()
    async with database.begin() as tx:
        return await tx.scalar(_ONE)
