"""Stores elsewhere on real servers, each opened from a file as an operator writes it."""

import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from azure.storage.blob import BlobServiceClient

from services.artifacts.external.opening import open_tree
from services.artifacts.external.tree import ExternalTree
from services.common import artifact_stores
from tests.s3 import EmbeddedS3
from tests.store.artifacts_external.servers import AzureAccount, Azurite, GcsEmulator, SshServer

_numbers = itertools.count()


@dataclass(frozen=True)
class Written:
    """The table of one store, `root` included, as TOML; files that it names are in `folder`."""

    folder: Path
    table: str


def open_written(written: Written) -> ExternalTree:
    """Open the one store of a file."""
    path = written.folder / f"stores-{next(_numbers)}.toml"
    path.write_text(f"[stores.elsewhere]\n{written.table}")
    (store,) = artifact_stores.load(path).stores
    return open_tree(store)


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3-elsewhere")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsEmulator]:
    with GcsEmulator(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
def local_store(tmp_path: Path) -> Written:
    (tmp_path / "root").mkdir()
    return Written(tmp_path, f'root = "{tmp_path}/root"')


@pytest.fixture
def sftp_store(ssh_server: SshServer) -> Written:
    root = ssh_server.root / uuid.uuid4().hex
    root.mkdir()
    return sftp_at(ssh_server, root)


def sftp_at(server: SshServer, root: Path) -> Written:
    lines = (
        f'root = "sftp://{server.address}{root}"',
        f'user = "{server.user}"',
        f'key_file = "{server.key}"',
        f'known_hosts_file = "{server.known_hosts}"',
    )
    return Written(server.folder, "\n".join(lines))


@pytest.fixture
def s3_store(s3_server: EmbeddedS3, tmp_path: Path) -> Written:
    bucket = s3_server.s3.make_bucket()
    (tmp_path / "access").write_text(s3_server.s3.access_key)
    (tmp_path / "secret").write_text(s3_server.s3.secret_key)
    lines = (
        f'root = "s3://{bucket}/some/prefix"',
        f'endpoint_url = "{s3_server.s3.endpoint}"',
        'region = "us-east-1"',
        'access_key_file = "access"',
        'secret_key_file = "secret"',
    )
    return Written(tmp_path, "\n".join(lines))


@pytest.fixture
def azure_store(azurite: Azurite, tmp_path: Path) -> Written:
    account = AzureAccount()
    connection = f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={azurite.endpoint}"
    container = f"c-{uuid.uuid4().hex}"
    with BlobServiceClient.from_connection_string(connection) as client:
        client.create_container(container)
    (tmp_path / "key").write_text(account.key)
    lines = (
        f'root = "wasbs://{container}@{account.name}.blob.core.windows.net/some/prefix"',
        f'endpoint_url = "{azurite.endpoint}"',
        'account_key_file = "key"',
    )
    return Written(tmp_path, "\n".join(lines))


@pytest.fixture
def gcs_store(gcs_server: GcsEmulator, tmp_path: Path) -> Written:
    bucket = f"b-{uuid.uuid4().hex}"
    requests.post(f"{gcs_server.endpoint}/storage/v1/b", json={"name": bucket}, timeout=60).raise_for_status()
    lines = (f'root = "gs://{bucket}/some/prefix"', f'endpoint_url = "{gcs_server.endpoint}"')
    return Written(tmp_path, "\n".join(lines))


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[Written], ExternalTree]]:
    """Opens stores, and closes them when the test is over."""
    trees: list[ExternalTree] = []

    def open_store(written: Written) -> ExternalTree:
        trees.append(open_written(written))
        return trees[-1]

    yield open_store
    for tree in trees:
        await tree.close()


KINDS = ["local", "sftp", "s3", "azure", "gcs"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def written(request: pytest.FixtureRequest, kind: str) -> Written:
    """A store of every kind, each empty."""
    found: Written = request.getfixturevalue(f"{kind}_store")
    return found


@pytest.fixture
def tree(written: Written, opened: Callable[[Written], ExternalTree]) -> ExternalTree:
    return opened(written)
