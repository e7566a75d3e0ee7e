"""What all tests share: the platform as processes, and a database with the schema of tracking."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from services.common import migrations
from services.common.database import Database
from services.local.postgres import EmbeddedPostgres
from services.tracking.__main__ import MIGRATIONS, SCHEMA
from tests import s3
from tests.stack import Stack

pytest_plugins = ["tests.turns"]

# How long an example takes says nothing on a machine that does other work, nor does it of the code how many examples a
# strategy has to throw away.
_OF_STRATEGIES = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("tests", deadline=None, suppress_health_check=_OF_STRATEGIES)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running platform; tests share it, so each makes its own experiments."""
    with Stack(tmp_path_factory.mktemp("stack"), s3=s3.from_environment()) as running:
        yield running


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres with the newest schema of tracking, as the role that tracking has."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("database")) as postgres:
        url = postgres.url("tracking")
        migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)
        yield url


@pytest.fixture(scope="session")
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, schema=SCHEMA)
    yield database
    await database.close()
