"""What tests of the client share: a registry to follow, and time that only moves when told."""

import time
from collections.abc import Iterator

import pytest

from tests.client.registry import Registry


class SimulatedClock:
    """Both clocks of a process, moved by hand."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self._began = time.time()

    def monotonic(self) -> float:
        return 1_000.0 + self.passed_s

    def time(self) -> float:
        return self._began + self.passed_s


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()
