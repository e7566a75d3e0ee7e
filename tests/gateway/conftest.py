"""A gateway and its backend for each test that asks for them."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway import limits
from tests.gateway.harness import WAIT_S, Platform, Script, platform

API_KEY = "a-key-of-32-characters-or-so-0000"


@pytest.fixture(autouse=True)
def _health_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a backend answers within a second is nothing that a machine can be held to that does other work."""
    monkeypatch.setattr(limits, "HEALTH_TIMEOUT_S", WAIT_S)


@pytest.fixture
def lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that send all before they read may take their time, as the machine does."""
    monkeypatch.setattr(limits, "LINGER_S", WAIT_S)
    monkeypatch.setattr(limits, "LINGER_SILENCE_S", WAIT_S)


@pytest.fixture(scope="session")
async def shared() -> AsyncIterator[Platform]:
    async with platform() as started:
        yield started


@pytest.fixture
def running(shared: Platform) -> Platform:
    """Everyone is anonymous, and the backend has seen nothing yet."""
    shared.backend.script = Script()
    return shared


@pytest.fixture
async def own() -> AsyncIterator[Platform]:
    """The same for a test that stops the backend, or fills the gateway."""
    async with platform() as started:
        yield started


@pytest.fixture(scope="session")
def tokens_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that knows `alice` by API_KEY."""
    path = tmp_path_factory.mktemp("gateway") / "tokens"
    path.write_text(f"alice:{hashlib.sha256(API_KEY.encode()).hexdigest()}\n")
    return path


@pytest.fixture(scope="session")
async def shared_guarded(tokens_file: Path) -> AsyncIterator[Platform]:
    async with platform(tokens_file=tokens_file) as started:
        yield started


@pytest.fixture
def guarded(shared_guarded: Platform) -> Platform:
    """Callers need an API key, and the backend has seen nothing yet."""
    shared_guarded.backend.script = Script()
    return shared_guarded
