"""A folder of this machine as a store: no link leads out of it, and what is in it is whole."""

import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.artifacts.external import local
from services.artifacts.external.tree import ExternalTree
from services.common.errors import InvalidArgument, Unavailable
from tests.store.artifacts_external.conftest import Written
from tests.store.artifacts_external.test_trees import broken_off, names, read, write

SECRET = b"a secret of this machine"


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def move(folder: Path, name: str) -> None:
    folder.rename(folder.with_name(name))


@pytest.fixture
def root(local_store: Written) -> Path:
    return local_store.folder / "root"


@pytest.fixture
def outside(local_store: Written) -> Path:
    """A folder beside the root, with a file that nobody may reach."""
    folder = local_store.folder / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(SECRET)
    return folder


@pytest.fixture
def tree(local_store: Written, opened: Callable[[Written], ExternalTree]) -> ExternalTree:
    return opened(local_store)


@pytest.mark.parametrize("is_relative", [False, True])
async def test_no_link_is_followed_by_reading(
    tree: ExternalTree, root: Path, outside: Path, *, is_relative: bool
) -> None:
    (root / "run").mkdir()
    target = Path("../../outside") if is_relative else outside
    (root / "run/link").symlink_to(target / "secret")
    (root / "run/folder").symlink_to(target)
    (root / "run/dangling").symlink_to(target / "absent")

    assert await names(tree, ("run",)) == []
    assert await read(tree, ("run", "link")) is None
    assert await read(tree, ("run", "folder", "secret")) is None
    assert await tree.list(("run", "folder")) == []


async def test_a_link_within_the_root_is_not_followed_either(tree: ExternalTree, root: Path) -> None:
    await write(tree, ("other", "file"), b"of another run")
    (root / "run").symlink_to(root / "other")

    assert await read(tree, ("run", "file")) is None
    assert await tree.list(("run",)) == []


async def test_no_link_is_followed_by_writing(tree: ExternalTree, root: Path, outside: Path) -> None:
    (root / "folder").symlink_to(outside)
    (root / "link").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "new")

    for path in [("folder", "new"), ("folder", "secret"), ("folder", "deep", "new")]:
        with pytest.raises(InvalidArgument):
            await write(tree, path, b"x")
    for name in ("link", "dangling"):
        await write(tree, (name,), b"x")

    assert inside(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == SECRET
    assert not (root / "link").is_symlink()
    assert await read(tree, ("link",)) == b"x"


async def test_no_link_is_followed_by_deleting(tree: ExternalTree, root: Path, outside: Path) -> None:
    (root / "run").mkdir()
    (root / "run/folder").symlink_to(outside)
    (root / "run/link").symlink_to(outside / "secret")
    (root / "beside").symlink_to(outside)

    assert await tree.delete(("beside", "secret")) == 0
    assert await tree.delete(("run",)) == 0
    assert await tree.delete(("beside",)) == 0

    assert inside(root) == []
    assert (outside / "secret").read_bytes() == SECRET


async def test_a_folder_that_becomes_a_link_while_a_file_is_written_leads_nowhere(
    tree: ExternalTree, root: Path, outside: Path
) -> None:
    async def swapped() -> AsyncIterator[bytes]:
        yield b"x"
        (root / "run").rename(root / "moved")
        (root / "run").symlink_to(outside)
        yield b"y"

    await tree.write(("run", "secret"), swapped(), size=None)

    assert (outside / "secret").read_bytes() == SECRET
    assert inside(outside) == ["secret"]
    assert (root / "moved/secret").read_bytes() == b"xy"


async def test_what_is_no_regular_file_is_none(tree: ExternalTree, root: Path) -> None:
    os.mkfifo(root / "fifo")
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)

    assert await names(tree) == []
    assert await tree.open(("fifo",)) is None
    assert await tree.open(("socket",)) is None


async def test_a_name_that_is_no_text_is_not_listed(tree: ExternalTree, root: Path) -> None:
    os.mknod(os.fsencode(root) + b"/\xff")

    assert await names(tree) == []


async def test_the_root_may_be_a_link_as_its_operator_named_it(
    local_store: Written, root: Path, opened: Callable[[Written], ExternalTree]
) -> None:
    (local_store.folder / "named").symlink_to(root)
    tree = opened(Written(local_store.folder, f'root = "{local_store.folder}/named"'))

    await write(tree, ("file",), b"x")

    assert (root / "file").read_bytes() == b"x"


async def test_a_root_that_is_gone_is_told_and_not_taken_for_an_empty_one(tree: ExternalTree, root: Path) -> None:
    await write(tree, ("run", "file"), b"x")
    move(root, "unmounted")

    with pytest.raises(Unavailable):
        await tree.list(("run",))
    with pytest.raises(Unavailable):
        await tree.open(("run", "file"))
    with pytest.raises(Unavailable):
        await write(tree, ("run", "file"), b"y")
    with pytest.raises(Unavailable):
        await tree.delete(("run",))
    move(root.with_name("unmounted"), "root")
    assert await read(tree, ("run", "file")) == b"x"


async def test_no_path_of_the_machine_is_told(tree: ExternalTree, root: Path) -> None:
    move(root, "unmounted")

    with pytest.raises(Unavailable) as raised:
        await tree.list(())

    assert raised.value.message == "The artifact store 'elsewhere' is away or does not work."


async def test_a_file_that_others_change_while_it_is_read_is_not_read_to_its_end(
    tree: ExternalTree, root: Path
) -> None:
    await write(tree, ("file",), b"a" * 3 * 1024 * 1024)
    file = await tree.open(("file",))
    assert file is not None
    reading = file.read(0, file.size)
    await anext(reading)

    with (root / "file").open("r+b") as other:
        other.write(b"b")

    with pytest.raises(Unavailable, match="replaced"):
        [chunk async for chunk in reading]


async def test_a_file_whose_sender_breaks_off_leaves_nothing_behind(tree: ExternalTree, root: Path) -> None:
    with pytest.raises(ConnectionAbortedError):
        await tree.write(("file",), broken_off(b"x"), size=None)

    assert inside(root) == []


async def test_leftovers_of_a_crash_are_hidden_and_go_with_their_folder(tree: ExternalTree, root: Path) -> None:
    await write(tree, ("run", "file"), b"x")
    (root / "run" / ".modelstead-0123").write_bytes(b"half")

    assert await names(tree, ("run",)) == ["file"]
    assert await tree.delete(("run",)) == 1
    assert inside(root) == []


async def test_a_folder_of_many_files_is_deleted_in_steps(tree: ExternalTree, root: Path) -> None:
    (root / "run").mkdir()
    count = 2 * local._ENTRIES_A_STEP + 1
    for number in range(count):
        (root / f"run/{number}").touch()

    assert await tree.delete(("run",)) == count
    assert inside(root) == []
