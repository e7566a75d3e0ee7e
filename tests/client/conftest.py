"""What tests of the client share: a registry to follow, a server to log to, a process of its own, and time that only
moves when told.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelstead.runs import settings
from modelstead.runs.process import Process
from tests.client.registry import Registry
from tests.client.server import IngestServer


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


@pytest.fixture
def server() -> Iterator[IngestServer]:
    with IngestServer() as running:
        yield running


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """What a process that has just begun has of this library: nothing."""
    fresh = Process()
    fresh.watches_exit = False
    monkeypatch.setattr("modelstead.runs.run.CURRENT", fresh)
    yield fresh
    fresh.finish("FINISHED")
    # What could not be sent is not tried, and told of, while other tests run.
    for recorder in fresh._recorders.values():
        if recorder._sender:
            recorder._sender.stop(60)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def make_settings(server: IngestServer, spool: Path) -> Callable[..., settings.Settings]:
    def make(**how: Any) -> settings.Settings:
        return settings.load({}, **{"address": server.address, "spool_dir": spool, "exit_timeout_s": 5, **how})

    return make
