"""What the tests of the local platform share: an embedded Postgres, and small real programs to supervise."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.settings import Address
from services.local.postgres import EmbeddedPostgres
from services.local.process import LAUNCHED_FOR, Child
from services.local.signals import Signals
from tests.stack import free_ports

MakeChild = Callable[..., Child]


@pytest.fixture
def data_path(tmp_path: Path) -> Path:
    """A data folder that does not exist yet, under its real name."""
    return tmp_path.resolve() / "data"


@pytest.fixture
def postgres(data_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(data_path) as running:
        yield running


@pytest.fixture
def make_child(data_path: Path) -> MakeChild:
    """Returns a maker of children that run a line of Python."""

    def make(name: str, code: str, **fields: Any) -> Child:
        env = {LAUNCHED_FOR: str(data_path)}
        argv = [sys.executable, "-I", "-S", "-c", code]
        return Child(name=name, argv=argv, env=env, log=data_path / "logs" / f"{name}.log", **fields)

    return make


@pytest.fixture
def signals() -> Iterator[Signals]:
    # A run under `nohup` ignores SIGHUP, and so would what is tested.
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with Signals() as entered:
        yield entered
    signal.signal(signal.SIGHUP, inherited)


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server for tests that only look at it."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def command() -> list[str]:
    """The `modelstead` command of the environment under test."""
    return [sys.executable, "-P", "-c", "from modelstead.cli import main; main()"]


@pytest.fixture
def gateway() -> Address:
    """An address whose port, and the three after it, are free."""
    return Address("127.0.0.1", free_ports())
