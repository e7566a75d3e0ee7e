"""Patience with a busy machine, for tests that call the code which has a database and not the service around it."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Many who call at once wait for their turn, and for connections, longer than a service has them wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.common.database._POOL_WAIT_S", 60)
        patch.setattr("services.common.database._CONNECT_TIMEOUT_S", 60)
        yield
