"""What every store elsewhere promises, on real servers of every kind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable

import pytest

from services.artifacts.external.tree import ExternalTree
from services.artifacts.trees import CHUNK_BYTES_MAX, OpenFile, Segments
from services.common.errors import InvalidArgument, Unavailable
from tests.store.artifacts_external.conftest import Written

MIB = 1024 * 1024
# Characters that mean something to shells, patterns, URLs or file systems; in names they are themselves.
ODD_NAMES = [
    *("a b", "100%", "%2e%2e", "a%2fb", "*", "[ab]", "a*", "~", "$HOME", "é☃😀", "'q'", '"q"', "a:b", "a&b=c"),
    *("-rf", "...", ".hidden", "COM1", "a,b", "{x}", "!x", "a+b", "n" * 200),
]


async def chunks_of(data: bytes, *, size: int = CHUNK_BYTES_MAX) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def broken_off(data: bytes) -> AsyncIterator[bytes]:
    yield data
    raise ConnectionAbortedError("the sender has gone")


async def write(tree: ExternalTree, path: Segments, data: bytes) -> None:
    await tree.write(path, chunks_of(data), size=len(data))


async def read(tree: ExternalTree, path: Segments) -> bytes | None:
    file = await tree.open(path)
    return None if file is None else await read_opened(file)


async def read_opened(file: OpenFile) -> bytes:
    return b"".join([chunk async for chunk in file.read(0, file.size)])


async def names(tree: ExternalTree, path: Segments = ()) -> list[str]:
    return [entry.name for entry in await tree.list(path)]


def pattern(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return bytes(range(251)) * (size // 251 + 1)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES_MAX, 20 * MIB + 7])
async def test_what_is_written_is_read(tree: ExternalTree, size: int) -> None:
    data = pattern(size)[:size]

    await write(tree, ("run", "artifacts", "file.bin"), data)

    file = await tree.open(("run", "artifacts", "file.bin"))
    assert file is not None
    assert file.size == size
    assert await read(tree, ("run", "artifacts", "file.bin")) == data


async def test_a_file_of_unknown_size_is_written(tree: ExternalTree) -> None:
    await tree.write(("file",), chunks_of(b"abc" * MIB, size=4000), size=None)

    assert await read(tree, ("file",)) == b"abc" * MIB


async def test_ranges_are_read(tree: ExternalTree) -> None:
    data = pattern(6 * MIB)
    await write(tree, ("file",), data)
    file = await tree.open(("file",))
    assert file is not None

    for start, length in [(0, 1), (5, 10), (MIB - 1, 2), (3 * MIB, 2 * MIB + 1), (len(data) - 1, 1), (7, 0)]:
        chunks = [chunk async for chunk in file.read(start, length)]

        assert b"".join(chunks) == data[start : start + length]
        assert all(len(chunk) <= CHUNK_BYTES_MAX for chunk in chunks)


async def test_a_newer_file_takes_the_place_of_an_older(tree: ExternalTree) -> None:
    await write(tree, ("d", "file"), b"older and longer")
    older = await tree.open(("d", "file"))

    await write(tree, ("d", "file"), b"newer")

    newer = await tree.open(("d", "file"))
    assert older is not None
    assert newer is not None
    assert newer.etag != older.etag
    assert await read(tree, ("d", "file")) == b"newer"
    assert await names(tree, ("d",)) == ["file"]


async def test_contents_of_two_files_are_never_mixed(tree: ExternalTree) -> None:
    await write(tree, ("file",), b"a" * 3 * MIB)
    file = await tree.open(("file",))
    assert file is not None
    reading = file.read(0, file.size)
    received = [await anext(reading)]

    await write(tree, ("file",), b"bb" * 3 * MIB)

    is_whole = True
    try:
        received += [chunk async for chunk in reading]
    except Unavailable:
        is_whole = False
    assert set(b"".join(received)) == {ord("a")}
    assert is_whole is (len(b"".join(received)) == file.size)


async def test_a_file_replaced_since_it_was_opened_is_not_read(tree: ExternalTree) -> None:
    await write(tree, ("file",), b"older")
    file = await tree.open(("file",))
    assert file is not None
    await write(tree, ("file",), b"newer!")

    with pytest.raises(Unavailable, match="replaced"):
        await read_opened(file)


async def test_a_folder_is_listed_by_name_and_one_level_deep(tree: ExternalTree) -> None:
    for path in [("m", "b"), ("m", "a", "x"), ("m", "c.txt"), ("m", "a", "y", "z"), ("m2",), ("other", "x")]:
        await write(tree, path, b"1" * len(path))

    listed = await tree.list(("m",))

    assert [(entry.name, entry.size) for entry in listed] == [("a", None), ("b", 2), ("c.txt", 2)]
    assert await names(tree) == ["m", "m2", "other"]


async def test_what_is_not_there_is_nothing(tree: ExternalTree) -> None:
    await write(tree, ("d", "file"), b"x")

    assert await tree.list(("absent",)) == []
    assert await tree.list(("d", "file")) == []
    assert await tree.open(("absent",)) is None
    assert await tree.open(("d",)) is None
    assert await tree.open(("d", "fil")) is None
    assert await tree.open(("d", "file", "x")) is None
    assert await tree.open(()) is None
    assert await tree.delete(("absent", "x")) == 0


async def test_a_folder_is_deleted_with_all_in_it_and_nothing_else(tree: ExternalTree) -> None:
    for path in [("d", "a"), ("d", "s", "b"), ("d", "s", "t", "c"), ("d2",), ("e", "d", "x")]:
        await write(tree, path, b"x")

    assert await tree.delete(("d",)) == 3

    assert await tree.list(("d",)) == []
    assert await read(tree, ("d2",)) == await read(tree, ("e", "d", "x")) == b"x"
    assert await tree.delete(("d",)) == 0
    assert await tree.delete(("d2",)) == 1
    assert await names(tree) == ["e"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: name[:8])
async def test_odd_names_are_plain_data(tree: ExternalTree, name: str) -> None:
    await write(tree, ("d", name), b"odd")
    await write(tree, (name, "x"), b"below")
    await write(tree, ("d", "ab"), b"bystander")

    assert name in await names(tree, ("d",))
    assert await names(tree, (name,)) == ["x"]
    assert await read(tree, ("d", name)) == b"odd"
    assert await tree.delete(("d", name)) == 1
    assert await read(tree, (name, "x")) == b"below"
    assert await read(tree, ("d", "ab")) == b"bystander"


async def test_a_semicolon_is_plain_data(tree: ExternalTree, kind: str) -> None:
    if kind == "gcs":
        # A flaw of this emulator, which takes the rest of the name for something else: it is noticed.
        with pytest.raises(Unavailable):
            await write(tree, ("d", "a;b"), b"odd")
        return

    await write(tree, ("d", "a;b"), b"odd")

    assert await read(tree, ("d", "a;b")) == b"odd"
    assert await names(tree, ("d",)) == ["a;b"]


@pytest.mark.parametrize("name", ["a?b", "a?versionId=1", "a?generation=1", "a#1", "?"])
async def test_names_that_could_name_a_version_are_data_or_refused(tree: ExternalTree, name: str) -> None:
    await write(tree, ("d", "a"), b"bystander")

    is_refused = False
    try:
        await write(tree, ("d", name), b"odd")
    except InvalidArgument:
        is_refused = True

    assert await names(tree, ("d",)) == (["a"] if is_refused else ["a", name] if name > "a" else [name, "a"])
    assert is_refused or await read(tree, ("d", name)) == b"odd"
    assert await read(tree, ("d", "a")) == b"bystander"


async def test_a_file_and_a_folder_do_not_share_a_path(tree: ExternalTree) -> None:
    await write(tree, ("d", "file"), b"x")

    for path in [("d",), ("d", "file", "below"), ("d", "file", "far", "below")]:
        with pytest.raises(InvalidArgument, match="cannot be a file"):
            await write(tree, path, b"y")

    assert await read(tree, ("d", "file")) == b"x"
    assert await names(tree, ("d",)) == ["file"]


@pytest.mark.parametrize("size", [1, 9 * MIB])
async def test_a_file_whose_sender_breaks_off_does_not_come_to_be(tree: ExternalTree, size: int) -> None:
    await write(tree, ("d", "old"), b"old")

    for path in [("d", "new"), ("d", "old")]:
        with pytest.raises(ConnectionAbortedError):
            await tree.write(path, broken_off(b"x" * size), size=None)

    # fsspec's files commit themselves when they are collected.
    gc.collect()
    assert await names(tree, ("d",)) == ["old"]
    assert await read(tree, ("d", "old")) == b"old"


@pytest.mark.parametrize("size", [2, 4])
async def test_a_file_of_another_size_than_said_does_not_come_to_be(tree: ExternalTree, size: int) -> None:
    with pytest.raises(InvalidArgument, match=f"said to have {size} bytes"):
        await tree.write(("file",), chunks_of(b"abc"), size=size)

    assert await tree.list(()) == []


async def test_a_file_whose_writer_is_cancelled_does_not_come_to_be(tree: ExternalTree) -> None:
    started = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        started.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(tree.write(("d", "file"), stalled(), size=None))
    await started.wait()

    writing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await tree.list(("d",)) == []


async def test_a_file_that_is_not_whole_yet_is_not_seen(tree: ExternalTree) -> None:
    async def looked_at() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 4 * MIB
            assert await tree.list(("d",)) == []
            assert await tree.open(("d", "file")) is None

    await tree.write(("d", "file"), looked_at(), size=None)

    assert await names(tree, ("d",)) == ["file"]


async def test_many_files_are_read_and_written_at_once(tree: ExternalTree) -> None:
    paths = [("d", f"{number:02}") for number in range(24)]

    await asyncio.gather(*(write(tree, path, path[1].encode() * MIB) for path in paths))
    contents = await asyncio.gather(*(read(tree, path) for path in paths))

    assert contents == [path[1].encode() * MIB for path in paths]


async def test_a_reader_that_stops_early_holds_nothing(tree: ExternalTree) -> None:
    await write(tree, ("file",), b"x" * 2 * MIB)
    file = await tree.open(("file",))
    assert file is not None

    # More of them than may read at once.
    for _ in range(20):
        reading = file.read(0, file.size)
        await anext(reading)
        await reading.aclose()  # type: ignore[attr-defined]

    assert await read(tree, ("file",)) == b"x" * 2 * MIB


@pytest.mark.parametrize(
    "path", [(".modelstead-x",), (".modelstead-x", "y"), ("a",) * 65, ("a" * 256,), ("é" * 128,), ("a" * 200,) * 5]
)
async def test_paths_that_no_store_should_have_are_refused(tree: ExternalTree, path: Segments) -> None:
    for call in (tree.open, tree.list, tree.delete):
        with pytest.raises(InvalidArgument):
            await call(path)
    with pytest.raises(InvalidArgument):
        await write(tree, path, b"x")


async def test_two_openings_see_one_store(written: Written, opened: Callable[[Written], ExternalTree]) -> None:
    one, other = opened(written), opened(written)
    assert await other.list(()) == []

    await write(one, ("file",), b"x")

    assert await read(other, ("file",)) == b"x"
    assert await names(other) == ["file"]
