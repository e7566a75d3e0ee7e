"""Object stores elsewhere: signed URLs, parts that nobody wants, and stores that are away or refuse us."""

import asyncio
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from services.artifacts.external.tree import ExternalTree
from services.common.errors import NotImplemented_, Unavailable
from tests.s3 import EmbeddedS3
from tests.store.artifacts_external.conftest import Written, open_written
from tests.store.artifacts_external.test_trees import MIB, broken_off, read, write

PATH = ("run", "a b+c%", "é.txt")


@pytest.fixture(params=["s3", "azure"])
def signing(request: pytest.FixtureRequest, opened: Callable[[Written], ExternalTree]) -> ExternalTree:
    """A store that the server has the key to."""
    return opened(request.getfixturevalue(f"{request.param}_store"))


@pytest.fixture(params=["local", "sftp", "gcs"])
def unsigning(request: pytest.FixtureRequest, opened: Callable[[Written], ExternalTree]) -> ExternalTree:
    """A store that has no signed URLs, or is reached without a key."""
    return opened(request.getfixturevalue(f"{request.param}_store"))


async def test_a_signed_url_lets_its_holder_read_one_file(signing: ExternalTree) -> None:
    await write(signing, PATH, b"contents")

    signed = await signing.sign(PATH, expires_s=60, for_upload=False)

    answer = await asyncio.to_thread(requests.get, signed.url, headers=dict(signed.headers), timeout=60)
    assert (answer.status_code, answer.content) == (200, b"contents")
    bare = await asyncio.to_thread(requests.get, signed.url.partition("?")[0], timeout=60)
    assert bare.status_code in (401, 403, 404)
    put = await asyncio.to_thread(requests.put, signed.url, data=b"other", timeout=60)
    assert put.status_code >= 400


async def test_a_signed_url_lets_its_holder_write_one_file(signing: ExternalTree) -> None:
    signed = await signing.sign(PATH, expires_s=60, for_upload=True)

    answer = await asyncio.to_thread(
        requests.put, signed.url, data=b"contents", headers=dict(signed.headers), timeout=60
    )

    assert answer.status_code in (200, 201)
    assert await read(signing, PATH) == b"contents"


@pytest.mark.parametrize("for_upload", [False, True])
async def test_a_store_that_cannot_sign_says_so(unsigning: ExternalTree, *, for_upload: bool) -> None:
    await write(unsigning, ("file",), b"x")

    with pytest.raises(NotImplemented_, match=r"^Presigned (up|down)load is not supported for the current artifact"):
        await unsigning.sign(("file",), expires_s=60, for_upload=for_upload)


async def test_parts_of_a_file_that_was_broken_off_are_discarded(
    s3_server: EmbeddedS3, s3_store: Written, opened: Callable[[Written], ExternalTree]
) -> None:
    tree = opened(s3_store)
    bucket = s3_store.table.partition("s3://")[2].partition("/")[0]

    with pytest.raises(ConnectionAbortedError):
        await tree.write(("file",), broken_off(b"x" * 20 * MIB), size=None)

    client = s3_server.s3.client()
    assert client._list_multipart_uploads(bucket).uploads == []
    assert list(client.list_objects(bucket, recursive=True)) == []


@pytest.fixture(params=["s3", "azure", "gcs"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    """A store whose server is not there: nothing listens on the port."""
    tables = {
        "s3": 'root = "s3://b"\nendpoint_url = "http://127.0.0.1:9"\naccess_key_file = "key"\nsecret_key_file = "key"',
        "azure": (
            'root = "wasbs://c@account.blob.core.windows.net"\nendpoint_url = "http://127.0.0.1:9/account"\n'
            'account_key_file = "key"'
        ),
        "gcs": 'root = "gs://b"\nendpoint_url = "http://127.0.0.1:9"',
    }
    (tmp_path / "key").write_text("c2VjcmV0")
    return Written(tmp_path, tables[request.param])


async def test_a_store_that_is_away_is_told(nowhere: Written, opened: Callable[[Written], ExternalTree]) -> None:
    tree = opened(nowhere)

    async with asyncio.timeout(60):
        with pytest.raises(Unavailable, match="The artifact store 'elsewhere'"):
            await tree.list(())


async def test_a_store_that_refuses_our_keys_is_told(
    s3_store: Written, tmp_path: Path, opened: Callable[[Written], ExternalTree]
) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "access", tmp_path / "other" / "access")
    (tmp_path / "other" / "secret").write_text(uuid.uuid4().hex)
    tree = opened(Written(tmp_path / "other", s3_store.table))

    with pytest.raises(Unavailable, match="The artifact store 'elsewhere' refuses this server"):
        await tree.list(())


def test_a_store_opens_without_its_server(nowhere: Written) -> None:
    assert open_written(nowhere) is not None


async def test_a_store_opens_without_credentials_and_says_so_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[Written], ExternalTree]
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    tree = opened(Written(tmp_path, 'root = "gs://bucket"'))

    with pytest.raises(Unavailable, match="The artifact store 'elsewhere'"):
        await tree.list(())
