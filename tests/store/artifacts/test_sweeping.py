"""After a crash at any step the sweeper leaves what was acknowledged, and nothing else."""

import asyncio
import hashlib
import os

import pytest

from services.artifacts import storing
from services.artifacts.blobs import store as blobs
from services.artifacts.maintenance import store as maintenance_store
from services.artifacts.uploads import store as uploads
from services.artifacts.uploads.model import Upload
from services.common.errors import NotFound
from tests.artifacts import WORKSPACE, UseCases, chunks, read_all

_EMPTY = {"artifacts": 0, "blobs": 0, "releases": 0, "uploads": 0, "garbage": 0}
_CONTENTS = os.urandom(6_000_000)


async def _begin(use_cases: UseCases, *, has_parts: bool) -> Upload:
    """Do what an upload does first."""
    upload = Upload(
        upload_id="u",
        workspace=WORKSPACE,
        path="a",
        object_key="default/ab/key",
        has_parts=has_parts,
        store_upload_id=None,
        size=len(_CONTENTS),
        create_time=use_cases.clock(),
    )
    async with use_cases.db.pipeline() as tx:
        await uploads.add(tx, upload)
    return upload


async def _crash_before_sending(use_cases: UseCases) -> None:
    await _begin(use_cases, has_parts=False)


async def _crash_with_parts_begun(use_cases: UseCases) -> None:
    upload = await _begin(use_cases, has_parts=True)
    await use_cases.objects.create_multipart(upload.key)


async def _crash_with_parts_sent(use_cases: UseCases) -> None:
    upload = await _begin(use_cases, has_parts=True)
    store_id = await use_cases.objects.create_multipart(upload.key)
    await use_cases.objects.put_part(upload.key, store_id, 1, chunks(_CONTENTS), size=len(_CONTENTS))


async def _crash_after_sending(use_cases: UseCases) -> None:
    upload = await _begin(use_cases, has_parts=False)
    await storing.store(use_cases.objects, upload.key, chunks(_CONTENTS), size=len(_CONTENTS))


async def _crash_after_discarding(use_cases: UseCases) -> None:
    await _crash_after_sending(use_cases)
    async with use_cases.db.pipeline() as tx:
        await uploads.discard(tx, "u", now=use_cases.clock())


async def _crash_after_removing_from_the_store(use_cases: UseCases) -> None:
    await _crash_after_discarding(use_cases)
    await use_cases.objects.remove(["default/ab/key"])


@pytest.mark.parametrize(
    "crash",
    [
        _crash_before_sending,
        _crash_with_parts_begun,
        _crash_with_parts_sent,
        _crash_after_sending,
        _crash_after_discarding,
        _crash_after_removing_from_the_store,
    ],
)
async def test_nothing_is_left_of_an_upload_that_a_crash_ended(use_cases: UseCases, crash: object) -> None:
    await crash(use_cases)

    use_cases.clock.advance(days=2)
    await use_cases.sweep_all()

    assert await use_cases.row_counts() == _EMPTY
    assert await use_cases.keys() == []
    assert use_cases.multipart_keys() == []


async def test_an_upload_under_way_is_left_alone(use_cases: UseCases) -> None:
    await _crash_after_sending(use_cases)

    use_cases.clock.advance(hours=23)
    await use_cases.sweep_all()

    assert (await use_cases.row_counts())["uploads"] == 1
    assert await use_cases.keys() == ["default/ab/key"]


async def test_garbage_stays_for_those_who_are_reading_it(use_cases: UseCases) -> None:
    await use_cases.files.upload(WORKSPACE, ("a",), chunks(b"x"), size=1)
    await use_cases.files.delete(WORKSPACE, ("a",))
    sweeper = use_cases.sweeper

    await sweeper.sweep(upload_ttl=sweeper.upload_ttl, garbage_grace=sweeper.garbage_grace)
    assert len(await use_cases.keys()) == 1

    use_cases.clock.advance(hours=1)
    await sweeper.sweep(upload_ttl=sweeper.upload_ttl, garbage_grace=sweeper.garbage_grace)
    assert await use_cases.keys() == []


async def test_an_upload_that_was_swept_away_is_not_committed(use_cases: UseCases) -> None:
    async def slowly() -> object:
        yield b"x" * 10
        use_cases.clock.advance(days=2)
        await use_cases.sweep_all()
        yield b"x" * 10

    with pytest.raises(Exception, match="took too long"):
        await use_cases.files.upload(WORKSPACE, ("a",), slowly(), size=20)

    assert (await use_cases.row_counts())["artifacts"] == 0


async def test_contents_sent_directly_are_read_and_become_one_with_equals(use_cases: UseCases) -> None:
    await use_cases.files.upload(WORKSPACE, ("through",), chunks(_CONTENTS), size=len(_CONTENTS))
    for name in ("direct-1", "direct-2"):
        await use_cases.send_directly((name,), _CONTENTS)
    assert len(await use_cases.keys()) == 3
    assert (await use_cases.files.get(WORKSPACE, ("direct-1",))).sha256 is None

    await use_cases.sweep_all()

    assert len(await use_cases.keys()) == 1
    for name in ("through", "direct-1", "direct-2"):
        artifact = await use_cases.files.get(WORKSPACE, (name,))
        assert artifact.sha256 == hashlib.sha256(_CONTENTS).hexdigest()
        assert await read_all(await use_cases.files.open(WORKSPACE, (name,))) == _CONTENTS


async def test_sweeps_at_once_do_the_work_of_one(use_cases: UseCases) -> None:
    for number in range(20):
        await use_cases.files.upload(WORKSPACE, (f"kept-{number}",), chunks(b"%d" % number), size=len(str(number)))
        await use_cases.files.upload(WORKSPACE, (f"gone-{number}",), chunks(b"-%d" % number), size=len(f"-{number}"))
        await use_cases.files.delete(WORKSPACE, (f"gone-{number}",))
    await use_cases.send_directly(("direct",), _CONTENTS)

    await asyncio.gather(*(use_cases.sweep_all() for _ in range(4)))
    await use_cases.sweep_all()

    assert len(await use_cases.keys()) == 21
    assert await use_cases.row_counts() == {**_EMPTY, "artifacts": 21, "blobs": 21, "uploads": 1}


@pytest.mark.parametrize(("length", "size"), [(0, 0), (7, 7), (7, None), (6_000_000, None)])
async def test_equal_contents_leave_the_object_that_backups_have(
    use_cases: UseCases, length: int, size: int | None
) -> None:
    contents = _CONTENTS[:length]
    await use_cases.files.upload(WORKSPACE, ("a",), chunks(contents), size=size)
    keys = await use_cases.keys()

    await use_cases.files.upload(WORKSPACE, ("b",), chunks(contents), size=size)
    await use_cases.sweep_all()

    assert await use_cases.keys() == keys
    assert await use_cases.row_counts() == {**_EMPTY, "artifacts": 2, "blobs": 1}
    for name in ("a", "b"):
        assert await read_all(await use_cases.files.open(WORKSPACE, (name,))) == contents


async def test_new_contents_take_the_place_of_the_same_ones_that_rotted(use_cases: UseCases) -> None:
    await use_cases.files.upload(WORKSPACE, ("a",), chunks(b"healthy"), size=7)
    (key,) = await use_cases.keys()
    await use_cases.overwrite(key, b"rotten!")

    await use_cases.files.upload(WORKSPACE, ("b",), chunks(b"healthy"), size=7)

    assert await read_all(await use_cases.files.open(WORKSPACE, ("a",))) == b"healthy"


async def test_a_file_deleted_long_ago_is_not_found_rather_than_lost(use_cases: UseCases) -> None:
    await use_cases.files.upload(WORKSPACE, ("a",), chunks(b"x"), size=1)
    await use_cases.files.delete(WORKSPACE, ("a",))
    await use_cases.sweep_all()

    with pytest.raises(NotFound):
        await use_cases.files.open(WORKSPACE, ("a",))


async def test_what_comes_to_a_key_while_it_is_removed_is_removed_by_the_next_sweep(use_cases: UseCases) -> None:
    async def discard() -> None:
        async with use_cases.db.pipeline() as tx:
            await blobs.discard_stray(tx, "default/aa/late", has_parts=False, now=use_cases.clock())

    await discard()
    async with use_cases.db.pipeline() as tx:
        doomed = await maintenance_store.select_garbage(tx, before=use_cases.clock(), limit=10)
    use_cases.clock.advance(seconds=1)
    await use_cases.overwrite("default/aa/late", b"late")
    await discard()

    async with use_cases.db.pipeline() as tx:
        await maintenance_store.delete_garbage(tx, doomed)
    await use_cases.sweep_all()

    assert await use_cases.keys() == []
    assert await use_cases.row_counts() == _EMPTY
