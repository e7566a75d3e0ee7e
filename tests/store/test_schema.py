"""The migrations build exactly the tables that the code declares, whoever runs them and how often."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.common import migrations
from services.common.database import parse_url
from services.tracking.__main__ import MIGRATIONS, SCHEMA
from services.tracking.tables import metadata


def test_migrations_build_the_declared_tables(database_url: str) -> None:
    engine = sqlalchemy.create_engine(parse_url(database_url), connect_args={"options": f"-c search_path={SCHEMA}"})

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_migrating_again_and_at_the_same_time_changes_nothing(database_url: str) -> None:
    with ThreadPoolExecutor(4) as runners:
        runs = [runners.submit(migrations.upgrade, database_url, schema=SCHEMA, scripts=MIGRATIONS) for _ in range(4)]

    assert [run.result() for run in runs] == [None] * 4
