"""`ModelResolver` on the real platform: changes made over REST reach it, also across outages of the registry."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelstead import ModelResolver
from modelstead.resolver.errors import AliasNotFound, ModelNotFound
from services.local import waiting
from tests.stack import Stack

TIMEOUT_S = 60.0
CHAMPION = "fraud@champion"


class Registry:
    """The registry over REST."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/2.0/mlflow/", timeout=TIMEOUT_S)

    def close(self) -> None:
        self._client.close()

    def post(self, path: str, **body: str) -> bool:
        try:
            return self._client.post(path, json=body).status_code == 200
        except httpx.TransportError:
            return False

    def delete_alias(self) -> bool:
        body = {"name": "fraud", "alias": "champion"}
        return self._client.request("DELETE", "registered-models/alias", json=body).status_code == 200

    def delete_model(self) -> bool:
        return self._client.request("DELETE", "registered-models/delete", json={"name": "fraud"}).status_code == 200

    def point(self, version: int) -> bool:
        return self.post("registered-models/alias", name="fraud", alias="champion", version=str(version))


@pytest.fixture
def registry(own_stack: Stack) -> Iterator[Registry]:
    """A registry that has `fraud` with 20 versions, of which 1 is @champion."""
    made = Registry(own_stack.url)
    assert made.post("registered-models/create", name="fraud")
    for number in range(20):
        assert made.post("model-versions/create", name="fraud", source=f"s3://b/{number + 1}")
    assert made.point(1)
    yield made
    made.close()


@pytest.fixture
def resolver(own_stack: Stack, registry: Registry, tmp_path: Path) -> Iterator[ModelResolver]:
    cache_dir = tmp_path / "cache"
    with ModelResolver(own_stack.registry_address, names=["fraud"], cache_dir=cache_dir, wait_s=TIMEOUT_S) as made:
        yield made


def comes_to(resolver: ModelResolver, version: int) -> bool:
    return waiting.until(lambda: resolver.get(CHAMPION).version == str(version), timeout_s=TIMEOUT_S)


def test_what_changes_in_the_registry_changes_in_the_resolver(registry: Registry, resolver: ModelResolver) -> None:
    found = resolver.get(CHAMPION)
    assert (found.version, found.source, found.aliases) == ("1", "s3://b/1", ("champion",))
    assert resolver.get("fraud/latest").version == "20"
    assert resolver.get("fraud/7").source == "s3://b/7"
    with pytest.raises(AliasNotFound):
        resolver.get("fraud@nobody")
    with pytest.raises(ModelNotFound):
        resolver.get("absent@champion")

    assert registry.point(5)
    assert comes_to(resolver, 5)
    assert registry.post("model-versions/transition-stage", name="fraud", version="5", stage="Production")
    assert waiting.until(lambda: resolver.get(CHAMPION).stage == "Production", timeout_s=TIMEOUT_S)
    assert resolver.get("fraud/production").version == "5"
    assert registry.delete_alias()
    assert waiting.until(lambda: not _has_champion(resolver), timeout_s=TIMEOUT_S)
    assert registry.post("registered-models/create", name="absent")
    assert waiting.until(lambda: bool(resolver.status().models["absent"].exists), timeout_s=TIMEOUT_S)


def test_answers_go_on_while_the_registry_is_killed_and_nothing_is_missed(
    own_stack: Stack, registry: Registry, resolver: ModelResolver, tmp_path: Path
) -> None:
    assert comes_to(resolver, 1)
    # What one knows is on the disk a little later.
    assert waiting.until(lambda: bool(list((tmp_path / "cache").glob("*.json"))), timeout_s=TIMEOUT_S)
    revisions: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.wait(0.001):
            revisions.append(resolver.get(CHAMPION).revision)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in range(2, 5):
            own_stack.kill("registry")
            assert waiting.until(lambda: not resolver.status().connected, timeout_s=TIMEOUT_S)
            with ModelResolver(own_stack.registry_address, cache_dir=tmp_path / "cache", wait_s=1) as other:
                assert int(other.get(CHAMPION).version) <= version - 1
            own_stack.start("registry")
            assert waiting.until(lambda moved=version: registry.point(moved), timeout_s=TIMEOUT_S)  # type: ignore[misc]
            assert comes_to(resolver, version)
    finally:
        done.set()
        reader.join()

    assert revisions == sorted(revisions)
    assert resolver.status().connected


def test_a_deleted_model_is_gone_and_one_of_its_name_goes_on_from_there(
    registry: Registry, resolver: ModelResolver
) -> None:
    before = resolver.get(CHAMPION).revision

    assert registry.delete_model()
    assert waiting.until(lambda: resolver.status().models["fraud"].exists is False, timeout_s=TIMEOUT_S)
    assert registry.post("registered-models/create", name="fraud")
    assert registry.post("model-versions/create", name="fraud", source="s3://b/new")
    assert registry.point(1)

    assert waiting.until(lambda: _has_champion(resolver), timeout_s=TIMEOUT_S)
    found = resolver.get(CHAMPION)
    assert found.source == "s3://b/new"
    assert found.revision > before


def _has_champion(resolver: ModelResolver) -> bool:
    try:
        resolver.get(CHAMPION)
    except (AliasNotFound, ModelNotFound):
        return False
    return True
