"""Patience with a busy machine: of tests that call the code which has a database and not the service around it, of
those that ask a platform which has just come back, and of those that judge how soon something is answered.
"""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests import patient

_AWAY_S = 60
_ROUNDS_MAX = 5


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


def assert_soon(round_s: Callable[[], float], *, within_s: float) -> None:
    """Fail if nothing is answered within that time, in seconds, in any of some rounds. What else a machine does can
    only make an answer later: one round without that shows when it is given.
    """
    rounds: list[float] = []
    while not any(took_s < within_s for took_s in rounds):
        assert len(rounds) < _ROUNDS_MAX, rounds
        rounds.append(round_s())
