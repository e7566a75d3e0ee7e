"""What tests of the client library share: a server to log to, and a process of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelstead.runs import settings
from modelstead.runs.process import Process
from modelstead.runs.recorder import Recorder
from tests.client.server import IngestServer


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


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


MakeRecorder = Callable[..., Recorder]


@pytest.fixture
def make_settings(server: IngestServer, spool: Path) -> Callable[..., settings.Settings]:
    def make(**how: Any) -> settings.Settings:
        return settings.load({}, **{"address": server.address, "spool_dir": spool, "exit_timeout_s": 5, **how})

    return make
