"""Patience with a busy machine, for tests that call the code which has a database and not the service around it."""

from collections.abc import Iterator

import pytest

from tests import patient


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Many who call at once wait for their turn, and for connections, longer than a service has them wait."""
    with pytest.MonkeyPatch.context() as patch:
        for module, bounds in patient.DATABASE.items():
            for name, value in bounds.items():
                patch.setattr(f"{module}.{name}", value)
        yield
