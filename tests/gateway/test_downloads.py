"""A backend's bytes are the answer as they come, with the status and headers that it gives them."""

import asyncio
import functools
import random
import time

import grpc
import httpx
import pytest

from modelstead import http_pb2
from services.gateway import limits
from tests.gateway.harness import WAIT_S, Platform, details, until
from tests.gateway.test_limits import status_of

FILE = "/api/2.0/mlflow-artifacts/artifacts/1/r/a.txt"
MIB = 1024 * 1024
OWN_HEADERS = {"content-type", "date", "x-request-id"}


def script(running: Platform, *pieces: bytes, status: int = 200, **headers: str) -> bytes:
    """Have the backend answer with these pieces, and return what they are together."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    running.script.head = http_pb2.HttpHead(status=status, headers=named)
    running.script.answer = list(pieces)
    return b"".join(pieces)


def random_pieces(*sizes: int) -> list[bytes]:
    return [random.Random(size).randbytes(size) for size in sizes]


async def raw_get(running: Platform, path: str = FILE) -> bytes:
    return await asyncio.wait_for(
        running.raw(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()), WAIT_S
    )


@pytest.mark.parametrize("sizes", [(0,), (1,), (127,), (128,), (MIB,), (MIB, MIB, 5), (0, 7, 0, 300_000, 0)])
async def test_an_answer_arrives_whole(running: Platform, sizes: tuple[int, ...]) -> None:
    body = script(running, *random_pieces(*sizes), content_length=str(sum(sizes)))

    response = await running.client.get(FILE)

    assert (response.status_code, response.content) == (200, body)
    assert response.headers["content-length"] == str(len(body))


async def test_an_answer_of_unknown_length_is_chunked(running: Platform) -> None:
    body = script(running, *random_pieces(10, 2 * MIB, 10))

    response = await running.client.get(FILE)

    assert response.content == body
    assert response.headers["transfer-encoding"] == "chunked"


async def test_headers_of_the_backend_are_the_answers(running: Platform) -> None:
    script(running, b"abc", content_length="3", etag='"e"', content_disposition="attachment; filename=a.txt")

    headers = (await running.client.get(FILE)).headers

    assert headers["content-type"] == "text/plain"
    assert headers["etag"] == '"e"'
    assert headers["content-disposition"] == "attachment; filename=a.txt"


async def test_what_the_gateway_says_itself_is_said_once(running: Platform) -> None:
    script(running, b"abc", content_type="text/html", x_content_type_options="x", x_request_id="x", connection="close")

    response = await running.client.get(FILE, headers={"x-request-id": "mine"})

    assert response.headers.get_list("content-type") == ["text/plain"]
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert "connection" not in response.headers


async def test_a_file_is_never_a_page_of_ours(running: Platform) -> None:
    script(running, b"<script>")

    headers = (await running.client.get(FILE)).headers

    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"


async def test_without_a_head_the_answer_is_plain(running: Platform) -> None:
    running.script.answer = [b"abc"]

    response = await running.client.get(FILE)

    assert (response.status_code, response.content) == (200, b"abc")


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ({"range": "bytes=1-2", "if-none-match": '"a", "b"'}, ("bytes=1-2", '"a", "b"', "")),
        ({"range": "bytes=1-2", "if-range": '"e"'}, ("bytes=1-2", "", '"e"')),
        ({}, ("", "", "")),
    ],
)
async def test_headers_of_the_request_are_fields(
    running: Platform, sent: dict[str, str], taken: tuple[str, str, str]
) -> None:
    await running.client.get(f"{FILE}?range=bytes%3D5-6&if_none_match=x&path=other", headers=sent)

    (request,) = running.script.requests
    assert request.path == "1/r/a.txt"
    assert (request.range, request.if_none_match, request.if_range) == taken


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (206, b"el", {"content-range": "bytes 1-2/5", "content-length": "2"}),
        (416, b"", {"content-range": "bytes */5", "content-length": "0"}),
        (304, b"", {"etag": '"e"'}),
    ],
)
async def test_the_backend_chooses_the_status(
    running: Platform, status: int, body: bytes, headers: dict[str, str]
) -> None:
    running.script.head = http_pb2.HttpHead(status=status, headers=headers)
    running.script.answer = [body]

    response = await running.client.get(FILE)
    again = await running.client.get(FILE)

    assert (response.status_code, response.content) == (status, body)
    assert {name: response.headers[name] for name in headers} == headers
    assert again.status_code == status


async def test_a_304_has_neither_body_nor_length(running: Platform) -> None:
    script(running, b"abc", status=304, content_length="3", etag='"e"')

    answer = await raw_get(running)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == 304
    assert body == b""
    assert b"content-length" not in head


@pytest.mark.parametrize("path", [FILE, "/ajax-api" + FILE.removeprefix("/api")])
async def test_a_head_is_answered_from_the_first_message(running: Platform, path: str) -> None:
    script(running, b"abc", b"def", content_length="2000000", etag='"e"')
    running.script.hold = asyncio.Event()

    response = await running.client.head(path, headers={"range": "bytes=0-0"})
    again = await running.client.head(path)

    assert (response.status_code, again.status_code, response.content) == (200, 200, b"")
    assert (response.headers["content-length"], response.headers["etag"]) == ("2000000", '"e"')
    assert running.script.requests[0].range == ""
    await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)


async def test_a_head_asks_by_its_query(running: Platform) -> None:
    response = await running.client.head("/get-artifact?run_uuid=r&path=a")

    assert response.status_code == 501  # The backend of these tests has no such method; the route is found.


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_error_before_the_first_message_is_mlflows(running: Platform, method: str) -> None:
    running.script.answer = []
    running.script.artifact_error = (
        grpc.StatusCode.NOT_FOUND,
        "",
        details("RESOURCE_DOES_NOT_EXIST", "No such artifact: 'x'"),
    )

    response = await running.client.request(method, FILE)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    if method == "GET":
        assert response.json()["message"] == "No such artifact: 'x'"


@pytest.mark.parametrize(
    ("reason", "status"), [("DATA_LOSS", 500), ("NOT_IMPLEMENTED", 501), ("TEMPORARILY_UNAVAILABLE", 503)]
)
async def test_reasons_have_their_status(running: Platform, reason: str, status: int) -> None:
    running.script.answer = []
    running.script.artifact_error = (grpc.StatusCode.INTERNAL, "", details(reason, "text", retry_after_s=2))

    response = await running.client.get(FILE)

    assert (response.status_code, response.json()["error_code"]) == (status, reason)


async def test_an_empty_stream_is_an_error(running: Platform) -> None:
    running.script.answer = []

    response = await running.client.get(FILE)

    assert (response.status_code, response.json()["error_code"]) == (500, "INTERNAL_ERROR")


@pytest.mark.parametrize("headers", [{"content-length": "6"}, {}])
async def test_an_error_after_it_leaves_the_answer_without_an_end(running: Platform, headers: dict[str, str]) -> None:
    script(running, b"abc")
    running.script.head = http_pb2.HttpHead(headers=headers)
    running.script.artifact_error = (grpc.StatusCode.DATA_LOSS, "", details("DATA_LOSS", "changed"))

    answer = await raw_get(running)
    with pytest.raises(httpx.RemoteProtocolError):
        await running.client.get(FILE)

    assert status_of(answer) == 200
    assert b"abc" in answer
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("length", ["2", "4"])
async def test_a_length_that_is_wrong_breaks_the_answer(running: Platform, length: str) -> None:
    script(running, b"abc", content_length=length)

    answer = await raw_get(running)

    assert not answer.endswith(b"abc") or length == "4"
    assert (await running.client.get("/version")).status_code == 200


async def test_a_client_that_leaves_ends_its_call(running: Platform) -> None:
    script(running, b"abc", content_length="6")
    running.script.hold = asyncio.Event()

    async with running.client.stream("GET", FILE) as response:
        async for _ in response.aiter_bytes():
            break

    await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)


async def test_pieces_are_passed_on_as_they_come(running: Platform) -> None:
    script(running, b"abc", content_length="6")
    running.script.hold = asyncio.Event()

    async with running.client.stream("GET", FILE) as response:
        first = await asyncio.wait_for(anext(response.aiter_raw()), WAIT_S)

    assert first == b"abc"


async def sent_within(running: Platform, seconds: float) -> tuple[int, int]:
    before = running.script.sent
    await asyncio.sleep(seconds)
    return before, running.script.sent


async def test_a_client_that_does_not_read_holds_the_backend_back(running: Platform) -> None:
    script(running, *[bytes(MIB)] * 300, content_length=str(300 * MIB))
    _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
    writer.write(f"GET {FILE} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())

    await asyncio.wait_for(running.script.answered.wait(), WAIT_S)
    _, sent = await until(functools.partial(sent_within, running, 0.5), lambda pair: pair[0] == pair[1])
    writer.close()

    assert sent < 50


async def test_a_client_that_never_reads_is_cut_off(running: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_TIMEOUT_S", 0.2)
    script(running, *[bytes(MIB)] * 300, content_length=str(300 * MIB))
    _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
    writer.write(f"GET {FILE} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())

    await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)
    writer.close()


@pytest.mark.alone
async def test_a_connection_is_used_again(running: Platform) -> None:
    script(running, b"abc", content_length="3")

    began = time.monotonic()
    for _ in range(20):
        assert (await running.client.get(FILE)).content == b"abc"

    assert time.monotonic() - began < 5
    assert len(running.script.requests) == 20
