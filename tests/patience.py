"""Patience with a busy machine: of tests that call the code which has a database and not the service around it, and of
those that ask a platform which has just come back.
"""

import time
from collections.abc import Iterator

import httpx
import pytest

from tests import patient

_AWAY_S = 60


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """Many who call at once wait for their turn, and for connections, longer than a service has them wait."""
    with pytest.MonkeyPatch.context() as patch:
        for module, bounds in patient.DATABASE.items():
            for name, value in bounds.items():
                patch.setattr(f"{module}.{name}", value)
        yield


def get(url: str, **query: str) -> httpx.Response:
    """Ask, and ask again while the platform says that it is away, which it may for a moment whenever something ends."""
    deadline = time.monotonic() + _AWAY_S
    while (answer := httpx.get(url, params=query, timeout=60)).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer
