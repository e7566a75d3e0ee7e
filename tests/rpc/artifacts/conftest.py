"""The artifact service as a process of its own, on a real database and a real S3."""

from collections.abc import Iterator

import pytest

from tests import artifacts
from tests.artifacts import ArtifactService
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
def service(tmp_path_factory: pytest.TempPathFactory, artifacts_url: str, s3: S3) -> Iterator[ArtifactService]:
    """Tests share it, so each has its own folder."""
    bucket = s3.make_bucket()
    path = tmp_path_factory.mktemp("artifact-service")
    with ArtifactService(path, database_url=artifacts_url, s3=s3, bucket=bucket) as running:
        yield running
    s3.remove_bucket(bucket)


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of the test's own."""
    return "".join(character if character.isalnum() else "-" for character in request.node.name)[:60]
