"""A database and an object store for the use-cases of artifacts; each test finds both empty."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests import artifacts
from tests.artifacts import UseCases
from tests.s3 import S3


@pytest.fixture(scope="session")
def artifacts_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with artifacts.database(tmp_path_factory.mktemp("artifacts-database")) as url:
        yield url


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with artifacts.object_store(tmp_path_factory.mktemp("object-store")) as s3:
        yield s3


@pytest.fixture(scope="session")
def shared_bucket(s3: S3) -> Iterator[str]:
    """One for all tests: the embedded server allots volumes to each bucket, and stalls when many come and go."""
    name = s3.make_bucket()
    yield name
    s3.remove_bucket(name)


@pytest.fixture
def bucket(s3: S3, shared_bucket: str) -> str:
    s3.empty_bucket(shared_bucket)
    return shared_bucket


@pytest.fixture
def slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the object store may say nothing for longer than the service would have it."""
    for module in ("availability", "objects"):
        monkeypatch.setattr(f"services.artifacts.{module}.PROBE_TIMEOUT_S", 60.0)


@pytest.fixture
async def use_cases(slow_store: None, artifacts_url: str, s3: S3, bucket: str) -> AsyncIterator[UseCases]:
    use_cases = UseCases(artifacts_url, s3, bucket)
    await use_cases.empty()
    yield use_cases
    await use_cases.close()
