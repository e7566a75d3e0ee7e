"""Names and contents: what is stored is found, once, whole, and nothing else is."""

import asyncio
import hashlib
import os
from dataclasses import replace
from typing import Any

import pytest

from services.artifacts import storing
from services.artifacts.files.commits import Commits
from services.artifacts.files.service import Files
from services.artifacts.trees import Entry
from services.common.errors import InvalidArgument, NotFound
from tests.artifacts import WORKSPACE, UseCases, chunks, read_all

_LARGE = 11 * 1024 * 1024 + 5


async def _put(use_cases: UseCases, path: str, contents: bytes = b"contents") -> None:
    await use_cases.files.upload(WORKSPACE, tuple(path.split("/")), chunks(contents), size=len(contents))


async def _read(use_cases: UseCases, path: str) -> bytes:
    return await read_all(await use_cases.files.open(WORKSPACE, tuple(path.split("/"))))


async def _names(use_cases: UseCases, folder: str = "") -> list[str]:
    entries, _ = await use_cases.files.list(WORKSPACE, tuple(folder.split("/")) if folder else ())
    return [entry.name + "/" * entry.is_dir for entry in entries]


@pytest.mark.parametrize("length", [0, 1, 4096, 1024 * 1024, 1024 * 1024 + 1, _LARGE])
@pytest.mark.parametrize("is_announced", [True, False])
async def test_what_was_stored_is_read(use_cases: UseCases, length: int, is_announced: bool) -> None:
    contents = os.urandom(length)

    await use_cases.files.upload(WORKSPACE, ("a", "b"), chunks(contents), size=length if is_announced else None)

    artifact = await use_cases.files.get(WORKSPACE, ("a", "b"))
    assert await _read(use_cases, "a/b") == contents
    assert (artifact.size, artifact.sha256) == (length, hashlib.sha256(contents).hexdigest())


async def test_a_range_is_read(use_cases: UseCases) -> None:
    contents = os.urandom(3 * 1024 * 1024)
    await _put(use_cases, "a", contents)

    file = await use_cases.files.open(WORKSPACE, ("a",))

    assert b"".join([part async for part in file.read(1_000_000, 1_500_000)]) == contents[1_000_000:2_500_000]


async def test_a_newer_file_takes_the_place_of_an_older_one(use_cases: UseCases) -> None:
    await _put(use_cases, "a", b"old")
    await _put(use_cases, "a", b"new")

    assert await _read(use_cases, "a") == b"new"


async def test_a_file_that_is_being_read_stays_as_it_was(use_cases: UseCases) -> None:
    contents = os.urandom(_LARGE)
    await _put(use_cases, "a", contents)
    reading = (await use_cases.files.open(WORKSPACE, ("a",))).read(0, _LARGE)
    first = await anext(reading)

    await _put(use_cases, "a", b"new")
    await use_cases.sweeper.sweep(
        upload_ttl=use_cases.sweeper.upload_ttl, garbage_grace=use_cases.sweeper.garbage_grace
    )

    assert first + b"".join([chunk async for chunk in reading]) == contents


async def test_equal_contents_of_64_uploads_at_once_are_kept_once(use_cases: UseCases) -> None:
    contents = os.urandom(100_000)

    await asyncio.gather(*(_put(use_cases, f"rank-{rank}/weights", contents) for rank in range(64)))
    await use_cases.sweep_all()

    assert len(await use_cases.keys()) == 1
    assert {await _read(use_cases, f"rank-{rank}/weights") for rank in range(64)} == {contents}


async def test_uploads_at_once_share_their_transactions(use_cases: UseCases, monkeypatch: pytest.MonkeyPatch) -> None:
    store, together = storing.store, asyncio.Barrier(64)

    async def store_together(*given: Any, **how: Any) -> storing.Stored:
        # The object store has them all before the first gets its name, however slow it is.
        stored = await store(*given, **how)
        await together.wait()
        return stored

    monkeypatch.setattr(storing, "store", store_together)

    await asyncio.gather(*(_put(use_cases, f"d/{number}", os.urandom(100)) for number in range(64)))

    async with use_cases.db.pipeline() as tx:
        row = await (await tx.execute("SELECT count(*), count(DISTINCT xmin::text) FROM artifacts")).fetchone()

    assert row is not None
    assert row[0] == 64
    assert row[1] < 16


async def test_an_upload_that_is_refused_takes_no_other_with_it(use_cases: UseCases) -> None:
    await _put(use_cases, "d/file")
    sound, mixed = [f"d/{number}" for number in range(20)], [f"d/file/{number}" for number in range(20)]

    outcomes = await asyncio.gather(
        *(_put(use_cases, path, path.encode()) for pair in zip(sound, mixed, strict=True) for path in pair),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), InvalidArgument] * 20
    assert "'d/file' is a file and cannot be a folder at once." in {str(outcome) for outcome in outcomes}
    assert [await _read(use_cases, path) for path in sound] == [path.encode() for path in sound]
    assert (await use_cases.row_counts())["uploads"] == 0


async def test_uploads_to_one_name_at_once_leave_one_of_them(use_cases: UseCases) -> None:
    contents = [os.urandom(100) for _ in range(30)]

    await asyncio.gather(*(_put(use_cases, "a", each) for each in contents))
    await use_cases.sweep_all()

    assert await _read(use_cases, "a") in contents
    assert len(await use_cases.keys()) == 1


async def test_replicas_that_store_the_same_do_not_wait_for_each_other(use_cases: UseCases) -> None:
    other = replace(use_cases.files, commits=Commits(db=use_cases.db, now=use_cases.clock))
    contents = [os.urandom(100) for _ in range(20)]

    async def store(files: Files, folder: str, order: list[bytes]) -> None:
        for _ in range(5):
            paths = [(folder, str(number)) for number in range(len(order))]
            await asyncio.gather(
                *(
                    files.upload(WORKSPACE, path, chunks(each), size=len(each))
                    for path, each in zip(paths, order, strict=True)
                )
            )

    async def sweep() -> None:
        while True:
            await use_cases.sweep_all()

    sweeping = asyncio.create_task(sweep())
    await asyncio.gather(
        store(use_cases.files, "a", contents),
        store(other, "a", contents[::-1]),
        store(use_cases.files, "b", contents[7:] + contents[:7]),
        store(other, "c", contents[::-1]),
    )
    sweeping.cancel()

    assert not sweeping.done()
    assert {await _read(use_cases, f"b/{number}") for number in range(20)} == set(contents)


async def test_a_name_is_given_without_a_look_at_those_beside_it(use_cases: UseCases) -> None:
    await _put(use_cases, "run/first", b"x")
    await use_cases.multiply("run/first", [f"run/{number:06}" for number in range(20_000)])

    scanned = await use_cases.rows_scanned(lambda: _put(use_cases, "run/last"))

    assert scanned < 50


async def test_contents_that_are_known_are_linked_without_sending_them(use_cases: UseCases) -> None:
    await _put(use_cases, "a", b"known")
    digest = hashlib.sha256(b"known").hexdigest()

    linked = await use_cases.files.link(WORKSPACE, ("b",), sha256=digest.upper(), size=5)

    assert linked
    assert await _read(use_cases, "b") == b"known"


async def test_contents_that_are_unknown_or_of_another_size_are_not_linked(use_cases: UseCases) -> None:
    await _put(use_cases, "a", b"known")
    digest = hashlib.sha256(b"known").hexdigest()

    assert not await use_cases.files.link(WORKSPACE, ("b",), sha256="0" * 64, size=5)
    assert not await use_cases.files.link(WORKSPACE, ("b",), sha256=digest, size=6)
    assert await _names(use_cases) == ["a"]


async def test_contents_of_another_workspace_are_not_linked(use_cases: UseCases) -> None:
    await _put(use_cases, "a", b"known")

    linked = await use_cases.files.link("other", ("b",), sha256=hashlib.sha256(b"known").hexdigest(), size=5)

    assert not linked


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/b/c")])
async def test_a_name_is_never_a_file_and_a_folder(use_cases: UseCases, first: str, second: str) -> None:
    await _put(use_cases, first)

    with pytest.raises(InvalidArgument, match="at once"):
        await _put(use_cases, second)


@pytest.mark.parametrize("is_known", [True, False], ids=["linked", "uploaded"])
async def test_a_name_is_never_a_file_and_a_folder_when_both_come_at_once(use_cases: UseCases, is_known: bool) -> None:
    await _put(use_cases, "source", b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    names = [("a",), ("a", "b"), ("a", "b", "c"), ("a", "b", "d"), ("a", "e")] * 2

    async def give(name: tuple[str, ...]) -> bool:
        if is_known:
            return await use_cases.files.link(WORKSPACE, name, sha256=digest, size=1)
        await _put(use_cases, "/".join(name), b"x")
        return True

    for _ in range(30):
        outcomes = await asyncio.gather(*map(give, names), return_exceptions=True)
        kept = {name for name in names if await _exists(use_cases, "/".join(name))}

        assert {name for name, outcome in zip(names, outcomes, strict=True) if outcome is True} == kept
        assert {type(outcome) for outcome in outcomes} <= {bool, InvalidArgument}
        assert not any(other != name and other[: len(name)] == name for name in kept for other in kept)
        await use_cases.files.delete(WORKSPACE, ("a",))


async def _exists(use_cases: UseCases, path: str) -> bool:
    try:
        await use_cases.files.get(WORKSPACE, tuple(path.split("/")))
    except NotFound:
        return False
    return True


async def test_neighbours_with_like_names_are_no_conflict(use_cases: UseCases) -> None:
    for path in ("model/weights", "model.pkl", "model-2", "model0", "modelx/weights"):
        await _put(use_cases, path)

    assert await _names(use_cases) == ["model/", "model-2", "model.pkl", "model0", "modelx/"]


async def test_other_than_the_announced_size_is_not_stored(use_cases: UseCases) -> None:
    for contents, size in (
        (b"four", 5),
        (b"four", 3),
        (b"", 1),
        (b"x" * _LARGE, _LARGE - 1),
        (b"x" * _LARGE, _LARGE + 1),
    ):
        with pytest.raises(InvalidArgument, match="announced"):
            await use_cases.files.upload(WORKSPACE, ("a",), chunks(contents), size=size)

    assert await _names(use_cases) == []


async def test_other_than_the_promised_hash_is_not_stored(use_cases: UseCases) -> None:
    with pytest.raises(InvalidArgument, match="SHA-256"):
        await use_cases.files.upload(WORKSPACE, ("a",), chunks(b"x"), size=1, sha256="0" * 64)

    assert await _names(use_cases) == []


async def test_an_upload_that_fails_leaves_nothing(use_cases: UseCases) -> None:
    async def broken() -> None:
        yield b"x" * 1_000_000
        raise ConnectionResetError

    for size in (5_000_000, None):
        with pytest.raises(ConnectionResetError):
            await use_cases.files.upload(WORKSPACE, ("a",), broken(), size=size)
    use_cases.clock.advance(hours=2)
    await use_cases.sweep_all()

    assert await use_cases.keys() == []
    assert await use_cases.row_counts() == {"artifacts": 0, "blobs": 0, "releases": 0, "uploads": 0, "garbage": 0}


async def test_a_folder_is_deleted_with_all_in_it_and_nothing_beside_it(use_cases: UseCases) -> None:
    for path in ("a/b/c", "a/b/d/e", "a/bb", "a/b.txt", "a/b0"):
        await _put(use_cases, path, path.encode())

    assert await use_cases.files.delete(WORKSPACE, ("a", "b")) == 2
    assert await use_cases.files.delete(WORKSPACE, ("a", "b")) == 0
    assert await _names(use_cases, "a") == ["b.txt", "b0", "bb"]


async def test_contents_go_with_their_last_name(use_cases: UseCases) -> None:
    await _put(use_cases, "a", b"shared")
    await _put(use_cases, "b", b"shared")

    await use_cases.files.delete(WORKSPACE, ("a",))
    await use_cases.sweep_all()
    assert await _read(use_cases, "b") == b"shared"

    await use_cases.files.delete(WORKSPACE, ("b",))
    await use_cases.sweep_all()
    assert await use_cases.keys() == []


async def test_a_link_races_with_the_deletion_of_the_last_name(use_cases: UseCases) -> None:
    digest = hashlib.sha256(b"contested").hexdigest()
    for number in range(30):
        await _put(use_cases, "old", b"contested")

        linked, *_ = await asyncio.gather(
            use_cases.files.link(WORKSPACE, ("new", str(number)), sha256=digest, size=9),
            use_cases.files.delete(WORKSPACE, ("old",)),
            use_cases.sweep_all(),
            use_cases.files.link(WORKSPACE, ("newer", str(number)), sha256=digest, size=9),
            use_cases.sweep_all(),
        )

        if linked:
            assert await _read(use_cases, f"new/{number}") == b"contested"
        await use_cases.files.delete(WORKSPACE, ("new",))
        await use_cases.files.delete(WORKSPACE, ("newer",))
        await use_cases.sweep_all()
        assert await use_cases.keys() == []


async def test_files_that_exchange_their_contents_do_not_wait_for_each_other(use_cases: UseCases) -> None:
    for _ in range(10):
        await asyncio.gather(
            *(_put(use_cases, "a", contents) for contents in (b"one", b"two")),
            *(_put(use_cases, "b", contents) for contents in (b"two", b"one")),
            use_cases.sweep_all(),
        )

    assert {await _read(use_cases, "a"), await _read(use_cases, "b")} <= {b"one", b"two"}


async def test_a_file_is_copied_without_its_contents(use_cases: UseCases) -> None:
    await _put(use_cases, "a/model", b"weights")

    assert await use_cases.files.copy(WORKSPACE, ("a", "model"), ("b", "model")) == 1

    assert await _read(use_cases, "b/model") == b"weights"
    assert len(await use_cases.keys()) == 1


async def test_a_folder_is_copied_over_what_is_there(use_cases: UseCases) -> None:
    for path in ("a/x", "a/y/z", "b/x", "b/kept"):
        await _put(use_cases, path, path.encode())

    assert await use_cases.files.copy(WORKSPACE, ("a",), ("b",)) == 2

    assert await _read(use_cases, "b/x") == b"a/x"
    assert await _read(use_cases, "b/y/z") == b"a/y/z"
    assert await _read(use_cases, "b/kept") == b"b/kept"


async def test_a_folder_is_copied_in_steps(use_cases: UseCases) -> None:
    await _put(use_cases, "a/first", b"x")
    await use_cases.multiply("a/first", [f"a/{number:05}/file" for number in range(2_345)])

    assert await use_cases.files.copy(WORKSPACE, ("a",), ("b", "c")) == 2_346
    assert len(await _names(use_cases, "b/c")) == 2_346


@pytest.mark.parametrize(
    ("source", "destination"), [("a", "a/b"), ("a/b", "a"), ("a", "a"), ("a/x", "a/y/z"), ("a/y", "a/x")]
)
async def test_a_copy_that_would_mix_files_and_folders_is_refused(
    use_cases: UseCases, source: str, destination: str
) -> None:
    for path in ("a/x", "a/y/z/file"):
        await _put(use_cases, path)

    with pytest.raises(InvalidArgument):
        await use_cases.files.copy(WORKSPACE, tuple(source.split("/")), tuple(destination.split("/")))


async def test_nothing_is_not_copied(use_cases: UseCases) -> None:
    with pytest.raises(NotFound):
        await use_cases.files.copy(WORKSPACE, ("a",), ("b",))


async def test_a_missing_file_is_not_found(use_cases: UseCases) -> None:
    await _put(use_cases, "a/b")

    for path in (("c",), ("a",), ("a", "b", "c")):
        with pytest.raises(NotFound, match="No such artifact"):
            await use_cases.files.open(WORKSPACE, path)


async def test_a_folder_lists_its_files_and_folders_by_name(use_cases: UseCases) -> None:
    for path in ("top", "f/b", "f/a/1", "f/a/2", "f/a-1", "f/ä", "f/a.txt", "f/a/3/4", "g/other"):
        await _put(use_cases, path, path.encode())

    entries, token = await use_cases.files.list(WORKSPACE, ("f",))

    assert token is None
    assert entries == [
        Entry(name="a", size=None),
        Entry(name="a-1", size=5),
        Entry(name="a.txt", size=7),
        Entry(name="b", size=3),
        Entry(name="ä", size=4),
    ]
    assert await _names(use_cases) == ["f/", "g/", "top"]
    assert await _names(use_cases, "f/b") == []
    assert await _names(use_cases, "nothing") == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
async def test_pages_have_every_entry_once(use_cases: UseCases, page_size: int) -> None:
    for path in ("b", "a/1", "a/2", "a-1", "a.txt", "a0", "c/x/y", "\U0010ffff/z", " "):
        await _put(use_cases, path)

    seen, token = [], ""
    while token is not None:
        entries, token = await use_cases.files.list(WORKSPACE, (), max_results=page_size, page_token=token)
        assert len(entries) <= page_size
        seen += [entry.name for entry in entries]

    assert seen == [" ", "a-1", "a.txt", "a", "a0", "b", "c", "\U0010ffff"]


async def test_a_page_token_is_good_for_its_folder_only(use_cases: UseCases) -> None:
    for path in ("a/1", "a/2", "b/1", "b/2"):
        await _put(use_cases, path)
    _, token = await use_cases.files.list(WORKSPACE, ("a",), max_results=1)

    with pytest.raises(InvalidArgument, match="page token"):
        await use_cases.files.list(WORKSPACE, ("b",), max_results=1, page_token=token or "")


async def test_listing_steps_over_what_is_deep_below(use_cases: UseCases) -> None:
    await _put(use_cases, "run/first", b"x")
    await use_cases.multiply("run/first", [f"run/deep/{number:06}" for number in range(20_000)])

    entries, _ = await use_cases.files.list(WORKSPACE, ("run",))
    scanned = await use_cases.rows_scanned(lambda: use_cases.files.list(WORKSPACE, ("run",)))

    assert [entry.name for entry in entries] == ["deep", "first"]
    assert 0 < scanned < 50
