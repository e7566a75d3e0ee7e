"""A database with the schema of the registry, as the role that the registry has."""

from collections.abc import Iterator

import pytest

from services.common import migrations
from services.local.postgres import EmbeddedPostgres
from services.registry.__main__ import MIGRATIONS, SCHEMA
from tests.patience import patience

__all__ = ["patience", "registry_url"]


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres with the newest schema of the registry."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("registry")) as postgres:
        url = postgres.url("registry")
        migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)
        yield url
