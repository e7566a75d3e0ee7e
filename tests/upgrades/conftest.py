"""What tests of upgrades share: a Postgres whose schemas they make and drop."""

from collections.abc import Iterator

import pytest

from services.local.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("upgrades")) as running:
        yield running
