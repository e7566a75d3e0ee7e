"""What the object store has lost, changed or never kept is never reported as stored, and never handed out."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator

import pytest

from services.common.errors import DataLoss, NotFound, ServiceError, Unavailable
from tests.artifacts import WORKSPACE, UseCases, chunks, read_all
from tests.s3 import S3
from tests.store.artifacts import faulty
from tests.store.artifacts.faulty import FaultyS3, Message

# In one step, in several, and in parts.
_SIZES = [(100, 100), (2_500_000, 2_500_000), (11_000_000, None)]


@pytest.fixture
async def proxy(s3: S3) -> AsyncIterator[tuple[FaultyS3, S3]]:
    async with faulty.in_front_of(s3) as proxy:
        yield proxy


@pytest.fixture
async def deceived(proxy: tuple[FaultyS3, S3], artifacts_url: str, bucket: str) -> AsyncIterator[UseCases]:
    """Use-cases whose object store is behind the proxy."""
    use_cases = UseCases(artifacts_url, proxy[1], bucket)
    await use_cases.empty()
    yield use_cases
    await use_cases.close()


async def _assert_not_stored(use_cases: UseCases, length: int, size: int | None) -> None:
    with pytest.raises((DataLoss, Unavailable)):
        await use_cases.files.upload(WORKSPACE, ("a",), chunks(os.urandom(length)), size=size)
    with pytest.raises(NotFound):
        await use_cases.files.get(WORKSPACE, ("a",))
    assert (await use_cases.row_counts())["uploads"] == 0


@pytest.mark.parametrize(("length", "size"), _SIZES)
async def test_contents_truncated_on_the_way_are_not_stored(
    proxy: tuple[FaultyS3, S3], deceived: UseCases, length: int, size: int | None
) -> None:
    async def truncate(request: Message) -> Message:
        return request.with_body(request.body[:-1]) if request.method == "PUT" else request

    proxy[0].change_request = truncate

    await _assert_not_stored(deceived, length, size)


@pytest.mark.parametrize(("length", "size"), _SIZES)
async def test_contents_changed_on_the_way_are_not_stored(
    proxy: tuple[FaultyS3, S3], deceived: UseCases, length: int, size: int | None
) -> None:
    async def change(request: Message) -> Message:
        return request.with_body(faulty.flip(request.body)) if request.method == "PUT" else request

    proxy[0].change_request = change

    await _assert_not_stored(deceived, length, size)


@pytest.mark.parametrize(("length", "size"), _SIZES[:2])
async def test_contents_that_the_store_only_claims_to_have_are_not_stored(
    proxy: tuple[FaultyS3, S3], deceived: UseCases, length: int, size: int | None
) -> None:
    proxy[0].forge = lambda request: faulty.stored_ok(request) if request.method == "PUT" else None

    await _assert_not_stored(deceived, length, size)


@pytest.mark.parametrize(("length", "size"), _SIZES)
async def test_contents_whose_storing_was_not_confirmed_are_not_stored(
    proxy: tuple[FaultyS3, S3], deceived: UseCases, length: int, size: int | None
) -> None:
    async def drop(method: str, answer: Message) -> Message | None:
        return None if method == "PUT" else answer

    proxy[0].change_answer = drop

    await _assert_not_stored(deceived, length, size)
    deceived.clock.advance(hours=2)
    await deceived.sweep_all()
    assert await deceived.keys() == []


async def test_completion_that_was_cut_off_is_completed_again(proxy: tuple[FaultyS3, S3], deceived: UseCases) -> None:
    contents = os.urandom(6_000_000)
    upload, _ = await deceived.uploads.create_multipart(WORKSPACE, ("a",), part_count=1)
    assert upload.object_key
    stored = await deceived.upload_of(upload.upload_id)
    etag = await deceived.objects.put_part(
        upload.object_key, stored.store_upload_id or "", 1, chunks(contents), size=len(contents)
    )

    async def drop(method: str, answer: Message) -> Message | None:
        return None if method == "POST" else answer

    proxy[0].change_answer = drop
    with pytest.raises(Unavailable):
        await deceived.uploads.complete_multipart(WORKSPACE, ("a",), upload.upload_id, [(1, etag)])
    proxy[0].change_answer = None
    await deceived.uploads.complete_multipart(WORKSPACE, ("a",), upload.upload_id, [(1, etag)])

    assert await read_all(await deceived.files.open(WORKSPACE, ("a",))) == contents


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_equal_contents_get_a_new_object_where_the_store_does_not_give_the_old_one(
    proxy: tuple[FaultyS3, S3], deceived: UseCases, method: str
) -> None:
    await deceived.files.upload(WORKSPACE, ("a",), chunks(b"x"), size=1)
    [old] = await deceived.keys()

    async def drop(request: Message) -> Message | None:
        return None if request.method == method and old.encode() in request.head else request

    proxy[0].change_request = drop
    await deceived.files.upload(WORKSPACE, ("b",), chunks(b"x"), size=1)
    await deceived.sweep_all()

    [new] = await deceived.keys()
    assert new != old
    assert await read_all(await deceived.files.open(WORKSPACE, ("a",))) == b"x"


async def test_a_slow_store_is_waited_for(proxy: tuple[FaultyS3, S3], deceived: UseCases) -> None:
    async def delay(request: Message) -> Message:
        await asyncio.sleep(2.5 if request.method == "PUT" else 0)
        return request

    proxy[0].change_request = delay

    await deceived.files.upload(WORKSPACE, ("a",), chunks(b"x"), size=1)

    assert (await deceived.files.get(WORKSPACE, ("a",))).size == 1


@pytest.mark.alone
async def test_a_silent_store_is_unavailable_in_two_seconds(proxy: tuple[FaultyS3, S3], deceived: UseCases) -> None:
    await deceived.files.upload(WORKSPACE, ("a",), chunks(b"x"), size=1)
    awake = asyncio.Event()

    async def sleep(request: Message) -> Message:
        await awake.wait()
        return request

    proxy[0].change_request = sleep

    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await deceived.files.upload(WORKSPACE, ("b",), chunks(b"x"), size=1)
        assert time.monotonic() - started < 2
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await read_all(await deceived.files.open(WORKSPACE, ("a",)))
        assert time.monotonic() - started < 2
    assert (await deceived.files.list(WORKSPACE, ()))[0][0].name == "a"

    proxy[0].change_request = faulty.honest
    awake.set()
    await deceived.files.upload(WORKSPACE, ("b",), chunks(b"y"), size=1)
    assert await read_all(await deceived.files.open(WORKSPACE, ("b",))) == b"y"


@pytest.mark.usefixtures("slow_store")
async def test_an_object_that_the_store_cannot_read_keeps_no_other_from_being_removed(
    proxy: tuple[FaultyS3, S3], deceived: UseCases
) -> None:
    await deceived.send_directly(("direct",), b"x")
    [unreadable] = await deceived.keys()
    await deceived.files.upload(WORKSPACE, ("gone",), chunks(b"y"), size=1)
    await deceived.files.delete(WORKSPACE, ("gone",))

    def refuse(request: Message) -> Message | None:
        is_read = request.method == "GET" and unreadable.encode() in request.head
        return Message(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", b"") if is_read else None

    proxy[0].forge = refuse
    await deceived.sweep_all()
    left = await deceived.keys()
    proxy[0].forge = lambda request: None
    await deceived.sweep_all()

    assert left == [unreadable]
    assert (await deceived.files.get(WORKSPACE, ("direct",))).sha256 == hashlib.sha256(b"x").hexdigest()


@pytest.mark.usefixtures("slow_store")
async def test_while_the_store_is_away_a_sweep_ends_and_forgets_nothing(
    proxy: tuple[FaultyS3, S3], deceived: UseCases
) -> None:
    await deceived.send_directly(("direct",), b"x")
    await deceived.files.upload(WORKSPACE, ("gone",), chunks(b"y"), size=1)
    await deceived.files.delete(WORKSPACE, ("gone",))

    async def drop(request: Message) -> None:
        return None

    proxy[0].change_request = drop
    with pytest.raises(Unavailable):
        await deceived.sweep_all()

    assert (await deceived.row_counts())["releases"] == 1


@pytest.mark.parametrize("length", [100, 2_500_000])
async def test_contents_changed_on_the_way_back_are_withheld(
    proxy: tuple[FaultyS3, S3], deceived: UseCases, length: int
) -> None:
    await deceived.files.upload(WORKSPACE, ("a",), chunks(os.urandom(length)), size=length)

    async def change(method: str, answer: Message) -> Message:
        return Message(answer.head, faulty.flip(answer.body)) if method == "GET" else answer

    proxy[0].change_answer = change
    received: list[bytes] = []
    with pytest.raises(DataLoss):
        await _read_into(received, deceived)

    assert sum(map(len, received)) < length


@pytest.mark.parametrize("length", [100, 2_500_000])
async def test_contents_cut_off_on_the_way_back_are_no_whole_file(
    proxy: tuple[FaultyS3, S3], deceived: UseCases, length: int
) -> None:
    await deceived.files.upload(WORKSPACE, ("a",), chunks(os.urandom(length)), size=length)

    async def cut(method: str, answer: Message) -> Message:
        return Message(answer.head, answer.body[:-1]) if method == "GET" else answer

    proxy[0].change_answer = cut
    received: list[bytes] = []
    with pytest.raises(ServiceError):
        await _read_into(received, deceived)

    assert sum(map(len, received)) < length


async def _read_into(received: list[bytes], use_cases: UseCases) -> None:
    file = await use_cases.files.open(WORKSPACE, ("a",))
    async for chunk in file.read(0, file.size):
        received += [chunk]
