"""The migrations build exactly the tables that the code declares, and what was told cannot be changed."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.common import migrations
from services.common.database import parse_url
from services.registry.__main__ import MIGRATIONS, SCHEMA
from services.registry.tables import metadata


def test_migrations_build_the_declared_tables(registry_url: str) -> None:
    engine = sqlalchemy.create_engine(
        parse_url(registry_url),
        connect_args={"options": f"-c search_path={SCHEMA}"},
        poolclass=sqlalchemy.NullPool,
    )

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_migrating_again_and_at_the_same_time_changes_nothing(registry_url: str) -> None:
    with ThreadPoolExecutor(4) as runners:
        runs = [runners.submit(migrations.upgrade, registry_url, schema=SCHEMA, scripts=MIGRATIONS) for _ in range(4)]

    assert [run.result() for run in runs] == [None] * 4


@pytest.mark.parametrize("statement", ["UPDATE events SET actor = 'somebody'", "DELETE FROM events", "TRUNCATE events"])
def test_what_happened_stays_as_it_was_told(registry_url: str, statement: str) -> None:
    with (
        psycopg.connect(registry_url, options=f"-c search_path={SCHEMA}") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)
