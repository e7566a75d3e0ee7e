"""A folder of a real OpenSSH server as a store: which hosts are trusted, links, and a server that goes away."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.artifacts.external.tree import ExternalTree
from services.common.errors import InvalidArgument, Unavailable
from services.common.settings import SettingsError
from tests.store.artifacts_external.conftest import Written, open_written, sftp_at
from tests.store.artifacts_external.servers import SshServer
from tests.store.artifacts_external.test_local import inside
from tests.store.artifacts_external.test_trees import names, read, write


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[SshServer]:
    """A server that a test may stop."""
    with SshServer(tmp_path) as server:
        yield server


async def test_no_link_is_followed(
    ssh_server: SshServer, tmp_path: Path, opened: Callable[[Written], ExternalTree]
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "run").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "run/link").symlink_to(outside / "secret")
    (root / "run/folder").symlink_to("../../outside")
    tree = opened(sftp_at(ssh_server, root))

    assert await names(tree, ("run",)) == []
    assert await read(tree, ("run", "link")) is None
    assert await read(tree, ("run", "folder", "secret")) is None
    assert await tree.list(("run", "folder")) == []
    with pytest.raises(InvalidArgument):
        await write(tree, ("run", "folder", "secret"), b"x")
    assert await tree.delete(("run", "folder", "secret")) == 0
    await write(tree, ("run", "link"), b"x")
    assert await tree.delete(("run",)) == 1
    assert (outside / "secret").read_bytes() == b"secret"
    assert inside(outside) == ["secret"]


async def test_a_host_with_another_key_than_the_known_one_is_not_trusted(
    ssh_server: SshServer, sftp_store: Written, tmp_path: Path, opened: Callable[[Written], ExternalTree]
) -> None:
    other = tmp_path / "known_hosts"
    public = ssh_server.key.with_suffix(".pub").read_text()
    other.write_text(f"[{ssh_server.address.host}]:{ssh_server.address.port} {public}")
    tree = opened(Written(tmp_path, sftp_store.table.replace(str(ssh_server.known_hosts), str(other))))

    with pytest.raises(Unavailable):
        await tree.list(())


async def test_a_host_that_is_not_known_is_not_trusted(
    ssh_server: SshServer, sftp_store: Written, tmp_path: Path, opened: Callable[[Written], ExternalTree]
) -> None:
    (tmp_path / "nobody").touch()
    table = sftp_store.table.replace(str(ssh_server.known_hosts), str(tmp_path / "nobody"))

    with pytest.raises(Unavailable):
        await opened(Written(tmp_path, table)).list(())


async def test_a_key_that_the_server_does_not_know_is_told(
    ssh_server: SshServer, sftp_store: Written, tmp_path: Path, opened: Callable[[Written], ExternalTree]
) -> None:
    shutil.copy(ssh_server.host_key, tmp_path / "key")
    table = sftp_store.table.replace(f'"{ssh_server.key}"', f'"{tmp_path}/key"')

    with pytest.raises(Unavailable):
        await opened(Written(tmp_path, table)).list(())


@pytest.mark.parametrize("option", ["key_file", "known_hosts_file"])
def test_a_file_of_credentials_that_is_not_there_stops_the_start(
    sftp_store: Written, tmp_path: Path, option: str
) -> None:
    lines = [line if not line.startswith(option) else f'{option} = "absent"' for line in sftp_store.table.splitlines()]

    with pytest.raises(SettingsError, match=rf"\[stores.elsewhere\] {option}: cannot read .*absent"):
        open_written(Written(tmp_path, "\n".join(lines)))


@pytest.mark.alone
async def test_a_server_that_is_away_is_told_soon_and_found_again(
    own_server: SshServer, opened: Callable[[Written], ExternalTree]
) -> None:
    tree = opened(sftp_at(own_server, own_server.root))
    await write(tree, ("file",), b"x")
    own_server.kill()

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await tree.list(())
        with pytest.raises(Unavailable):
            await write(tree, ("other",), b"x")
    own_server.start()

    assert await read(tree, ("file",)) == b"x"
