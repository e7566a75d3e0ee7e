"""A gateway and its backend for each test that asks for them."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.gateway.harness import Platform, Script, platform

# How long an example takes says nothing on a machine that does other work.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")

API_KEY = "a-key-of-32-characters-or-so-0000"


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
