"""A database with the schema of the registry, as the role that the registry has."""

from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy

from services.common import migrations
from services.common.database import Database, parse_url
from services.local.postgres import EmbeddedPostgres
from services.registry.__main__ import MIGRATIONS, SCHEMA


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres with the newest schema of the registry."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("registry")) as postgres:
        _end_autovacuum(postgres.url())
        url = postgres.url("registry")
        migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)
        yield url


def _end_autovacuum(superuser: str) -> None:
    """No transactions but those of tests: nothing is told of an event while an older one is open, as ANALYZE has."""
    engine = sqlalchemy.create_engine(parse_url(superuser), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        for statement in ("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()"):
            connection.execute(sqlalchemy.text(statement))


@pytest.fixture(scope="session")
async def registry_db(registry_url: str) -> AsyncIterator[Database]:
    database = Database(registry_url, schema=SCHEMA)
    yield database
    await database.close()
