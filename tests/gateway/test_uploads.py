"""A raw body reaches the backend as it comes, in pieces, with what path, query and headers say in front."""

import asyncio
import functools
import hashlib
import json
import random
from collections.abc import AsyncIterator

import grpc
import pytest

from modelstead.artifacts.v1 import artifacts_pb2
from services.gateway import limits
from tests.gateway.conftest import API_KEY
from tests.gateway.harness import WAIT_S, Platform, details, until
from tests.gateway.test_limits import status_of

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
MIB = 1024 * 1024


def head(path: str = f"{ARTIFACTS}/a", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"PUT {path} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n".encode()


def contents(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 4096, MIB - 1, MIB, MIB + 1, 5 * MIB + 7])
async def test_a_body_arrives_whole(running: Platform, size: int) -> None:
    body = contents(size)

    response = await running.client.put(f"{ARTIFACTS}/1/r/a.bin", content=body)

    assert (response.status_code, response.content) == (200, b"")
    assert bytes(running.script.contents) == body
    assert running.script.requests[0].path == "1/r/a.bin"
    assert running.script.requests[0].size == size


@pytest.mark.parametrize("size", [1, 300_000, 3 * MIB])
async def test_a_chunked_body_arrives_whole_and_has_no_size(running: Platform, size: int) -> None:
    body = contents(size)

    response = await running.client.put(f"{ARTIFACTS}/a", content=chunks(body, 10_000))

    assert response.status_code == 200
    assert bytes(running.script.contents) == body
    assert not running.script.requests[0].HasField("size")


async def test_pieces_are_of_one_mebibyte(running: Platform) -> None:
    await running.client.put(f"{ARTIFACTS}/a", content=contents(5 * MIB + 7))

    assert running.script.piece_sizes == [MIB] * 5 + [7]


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(content_length="0", connection="close"),
        head(connection="close"),
        head(transfer_encoding="chunked", connection="close") + b"0\r\n\r\n",
    ],
    ids=["length 0", "no body", "chunked"],
)
async def test_a_file_may_be_empty(running: Platform, request_bytes: bytes) -> None:
    answer = await asyncio.wait_for(running.raw(request_bytes), WAIT_S)

    assert status_of(answer) == 200
    assert (running.script.requests[0].path, running.script.piece_sizes) == ("a", [])


async def test_headers_and_the_path_fill_the_first_message(running: Platform) -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    headers = {"x-modelstead-sha256": digest, "content-type": "text/csv"}

    await running.client.put(f"{ARTIFACTS}/1/a%20b%2Fc%2525?path=no&sha256=no&size=9", content=b"abc", headers=headers)

    expected = artifacts_pb2.UploadArtifactRequest(path="1/a b/c%25", size=3, sha256=digest)
    expected.content.content_type = "text/csv"
    expected.content.data = b"abc"
    assert running.script.requests == [expected]


async def test_the_first_message_of_a_long_body_comes_before_the_body(running: Platform) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(head(content_length=str(2 * MIB), content_type="text/csv"))

    await asyncio.wait_for(running.script.called.wait(), WAIT_S)
    writer.close()

    assert running.script.requests[0].path == "a"
    assert running.script.requests[0].content.content_type == "text/csv"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a%00b", "'path' cannot contain NUL (0x00) characters"),
        ("a%ffb", "The value of 'path' is not valid UTF-8."),
        ("a%ed%a0%80b", "The value of 'path' is not valid UTF-8."),
    ],
)
async def test_a_path_is_text(running: Platform, path: str, message: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        response = await running.client.request(method, f"{ARTIFACTS}/{path}")

        assert (response.status_code, response.json()["message"]) == (400, message)
    assert running.script.requests == []


@pytest.mark.parametrize("path", [f"{ARTIFACTS}/", ARTIFACTS])
async def test_a_path_has_a_segment(running: Platform, path: str) -> None:
    assert (await running.client.put(path, content=b"x")).status_code in (404, 405)


async def test_the_prefix_of_the_web_ui_is_served(running: Platform) -> None:
    response = await running.client.put(ARTIFACTS.replace("/api/", "/ajax-api/") + "/x", content=b"x")

    assert response.status_code == 200
    assert running.script.requests[0].path == "x"


async def test_a_client_that_waits_for_leave_gets_it(running: Platform) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(head(content_length=str(2 * MIB), expect="100-continue"))

    leave = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
    writer.write(bytes(2 * MIB))
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
    writer.close()

    assert (status_of(leave), status_of(answer)) == (100, 200)


class TestErrors:
    @pytest.mark.parametrize("size", [1, 3 * MIB])
    async def test_a_services_error_is_told_as_it_says(self, running: Platform, size: int) -> None:
        running.script.artifact_error = (
            grpc.StatusCode.INVALID_ARGUMENT,
            "",
            details("INVALID_PARAMETER_VALUE", "Invalid path"),
        )

        response = await running.client.put(f"{ARTIFACTS}/a", content=contents(size))

        assert (response.status_code, response.json()["message"]) == (400, "Invalid path")

    async def test_a_refusal_comes_before_the_body_and_closes_the_connection(self, running: Platform) -> None:
        running.script.artifact_error = (grpc.StatusCode.UNAVAILABLE, "", details("TEMPORARILY_UNAVAILABLE", "away"))
        running.script.pieces_taken = 0

        answer = await asyncio.wait_for(running.raw(head(content_length=str(1000 * MIB)) + bytes(1000)), WAIT_S)

        assert status_of(answer) == 503
        assert b"\r\nconnection: close\r\n" in answer
        assert b'"away"' in answer

    async def test_a_client_that_sends_all_the_same_reads_the_refusal(self, running: Platform, lingering: None) -> None:
        running.script.artifact_error = (grpc.StatusCode.UNAVAILABLE, "", details("TEMPORARILY_UNAVAILABLE", "away"))
        running.script.pieces_taken = 0
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)

        writer.write(head(content_length=str(50 * MIB)))
        for _ in range(50):
            writer.write(bytes(MIB))
            await writer.drain()
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()

        assert status_of(answer) == 503
        assert answer.endswith(b"}")

    async def test_a_refusal_is_not_lost_when_it_meets_a_piece(self, running: Platform, lingering: None) -> None:
        running.script.artifact_error = (grpc.StatusCode.UNAVAILABLE, "", details("TEMPORARILY_UNAVAILABLE", "away"))
        running.script.pieces_taken = 0

        statuses = {(await running.client.put(f"{ARTIFACTS}/a", content=bytes(4 * MIB))).status_code for _ in range(80)}

        assert statuses == {503}

    async def test_a_refusal_of_the_gateway_itself_does_as_well(self, guarded: Platform) -> None:
        answer = await asyncio.wait_for(guarded.raw(head(content_length=str(1000 * MIB)) + bytes(1000)), WAIT_S)

        assert status_of(answer) == 401
        assert b"\r\nconnection: close\r\n" in answer

    async def test_a_success_may_come_before_the_end_of_the_body(self, running: Platform) -> None:
        running.script.pieces_taken = 1

        answer = await asyncio.wait_for(running.raw(head(content_length=str(1000 * MIB)) + bytes(2 * MIB)), WAIT_S)

        assert status_of(answer) == 200

    async def test_a_backend_that_is_away_is_told_at_once(self, own: Platform, lingering: None) -> None:
        await own.backend.stop()

        for size in (1, 3 * MIB):
            response = await own.client.put(f"{ARTIFACTS}/a", content=bytes(size))
            assert (response.status_code, response.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
            assert response.headers["retry-after"] == "1"

    async def test_a_backend_that_dies_meanwhile_is_told(self, own: Platform, lingering: None) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for number in range(50):
                if number == 5:
                    await own.backend.stop()
                yield bytes(MIB)

        response = await own.client.put(f"{ARTIFACTS}/a", content=endless())

        assert response.status_code == 503

    async def test_a_wrong_header_is_named(self, running: Platform) -> None:
        answer = await running.raw(head(content_length=str(2**63), connection="close"))

        assert status_of(answer) in (400, 413)
        assert running.script.requests == []


class TestBounds:
    @pytest.mark.parametrize("is_chunked", [False, True])
    async def test_a_body_has_a_size(
        self, running: Platform, lingering: None, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
    ) -> None:
        monkeypatch.setattr(limits, "TRANSFER_BYTES_MAX", 3 * MIB)
        body = contents(3 * MIB + 1)

        response = await running.client.put(f"{ARTIFACTS}/a", content=chunks(body, MIB) if is_chunked else body)

        assert response.status_code == 413
        assert response.json()["message"] == f"The request body exceeds {3 * MIB} bytes."

    async def test_it_is_not_that_of_other_bodies(self, running: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "BODY_BYTES_MAX", 1000)

        assert (await running.client.put(f"{ARTIFACTS}/a", content=bytes(3 * MIB))).status_code == 200

    @pytest.mark.parametrize("length", [{"content_length": "10"}, {"content_length": str(2 * MIB)}])
    async def test_a_body_that_stalls_is_given_up(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch, length: dict[str, str]
    ) -> None:
        # Long enough for the call to begin, which is then to be cancelled.
        monkeypatch.setattr(limits, "PIECE_TIMEOUT_S", 1)

        answer = await asyncio.wait_for(running.raw(head(**length) + b"123"), WAIT_S)

        assert status_of(answer) == 408
        assert b"DEADLINE_EXCEEDED" in answer
        assert bytes(running.script.contents) == b""
        if length["content_length"] != "10":
            await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)

    async def test_a_body_that_comes_slowly_is_passed_on_as_it_comes(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "PIECE_TIMEOUT_S", 1.5)
        monkeypatch.setattr(limits, "PIECE_BYTES_MIN", 1000)

        async def slowly() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield bytes(1000)
                await asyncio.sleep(0.2)

        response = await running.client.put(f"{ARTIFACTS}/a", content=slowly())

        assert response.status_code == 200
        assert sum(running.script.piece_sizes) == 20_000
        assert len(running.script.piece_sizes) > 2

    async def test_time_that_the_backend_takes_does_not_count(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "PIECE_TIMEOUT_S", 1.5)
        running.script.hold = asyncio.Event()
        sending = asyncio.create_task(running.client.put(f"{ARTIFACTS}/a", content=bytes(30 * MIB)))
        await asyncio.wait_for(running.script.called.wait(), WAIT_S)

        done, _ = await asyncio.wait([sending], timeout=3)
        running.script.hold.set()

        assert not done
        assert (await sending).status_code == 200

    async def test_a_backend_that_does_not_take_holds_the_client_back(self, running: Platform) -> None:
        running.script.hold = asyncio.Event()
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                yield bytes(64 * 1024)
                sent += 64 * 1024

        async def sent_within(seconds: float) -> tuple[int, int]:
            before = sent
            await asyncio.sleep(seconds)
            return before, sent

        sending = asyncio.create_task(running.client.put(f"{ARTIFACTS}/a", content=endless()))
        await asyncio.wait_for(running.script.called.wait(), WAIT_S)
        _, at_rest = await until(functools.partial(sent_within, 0.3), lambda pair: pair[0] == pair[1] > 0)
        sending.cancel()
        running.script.hold.set()
        await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)

        assert at_rest < 100 * MIB

    async def test_the_bytes_held_have_a_bound_together(
        self, running: Platform, lingering: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BODIES_BYTES_MAX", 100_000)

        small = await running.client.put(f"{ARTIFACTS}/a", content=bytes(90_000))
        large = await running.client.put(f"{ARTIFACTS}/a", content=bytes(900_000))
        again = await running.client.put(f"{ARTIFACTS}/a", content=bytes(90_000))

        assert [small.status_code, large.status_code, again.status_code] == [200, 429, 200]
        assert large.headers["retry-after"] == "1"

    async def test_what_was_passed_on_is_held_no_longer(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BODIES_BYTES_MAX", 3 * MIB)

        for _ in range(3):
            assert (await running.client.put(f"{ARTIFACTS}/a", content=bytes(20 * MIB))).status_code == 200


@pytest.mark.parametrize("size", [1000, 2 * MIB])
async def test_a_client_that_leaves_ends_its_call(running: Platform, size: int) -> None:
    running.script.hold = asyncio.Event()
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(head(content_length=str(size)) + bytes(size))
    await asyncio.wait_for(running.script.called.wait(), WAIT_S)

    writer.close()

    await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)


async def test_a_client_that_leaves_in_the_middle_ends_its_call(running: Platform) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(head(content_length=str(20 * MIB)) + bytes(MIB))
    await asyncio.wait_for(running.script.called.wait(), WAIT_S)

    writer.close()

    await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)
    assert not running.script.answered.is_set()


async def test_a_body_cut_short_within_a_chunk_is_not_taken_for_whole(running: Platform) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(head(transfer_encoding="chunked") + b"5\r\nabcde\r\n5\r\nab")
    await asyncio.wait_for(running.script.called.wait(), WAIT_S)

    writer.close()

    await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)
    assert not running.script.answered.is_set()


async def test_credentials_go_with_it(guarded: Platform) -> None:
    headers = {"authorization": f"Bearer {API_KEY}"}

    for size in (1, 2 * MIB):
        response = await guarded.client.put(f"{ARTIFACTS}/a", content=bytes(size), headers=headers)

        assert response.status_code == 200
        assert guarded.script.metadata["authorization"] == f"Bearer {API_KEY}"


async def test_a_transfer_may_take_longer_than_a_call(running: Platform) -> None:
    await running.client.put(f"{ARTIFACTS}/a", content=b"x")
    assert running.script.deadline_s == pytest.approx(limits.TRANSFER_TIMEOUT_S, rel=0.01)

    await running.client.put(f"{ARTIFACTS}/a", content=b"x", headers={"x-request-timeout-ms": "20000"})
    assert running.script.deadline_s is not None
    assert 0 < running.script.deadline_s <= 21


async def test_a_list_and_a_deletion_are_ordinary_calls(running: Platform) -> None:
    listed = await running.client.get(ARTIFACTS, params={"path": "a/b"})
    deleted = await running.client.delete(f"{ARTIFACTS}/a/b%2Fc/", headers={"content-type": "application/json"})

    assert (listed.json(), deleted.json()) == ({}, {})
    assert [request.path for request in running.script.requests] == ["a/b", "a/b/c/"]


async def test_a_deletion_may_have_a_body(running: Platform) -> None:
    await running.client.request("DELETE", f"{ARTIFACTS}/a", content=json.dumps({"path": "other"}))

    assert running.script.requests[0].path == "a"
