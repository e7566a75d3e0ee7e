"""What is sent to the gateway has bounds, and past them it is refused before it costs anything."""

import asyncio
import base64
import functools
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.gateway import limits
from tests.gateway.harness import API, JSON, WAIT_S, Platform, platform, until

REQUEST = f"POST {API}/runs/create HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def status_of(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert found, answer[:200]
    return int(found[1])


def get_run(run_id: str) -> bytes:
    return f"GET {API}/runs/get?run_id={run_id} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()


class TestBodies:
    async def test_a_body_up_to_the_bound_is_taken(self, running: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        body = json.dumps({"run_name": "x" * 1000}).encode()
        monkeypatch.setattr(limits, "BODY_BYTES_MAX", len(body))

        assert (await running.post("runs/create", body)).status_code == 200

    @pytest.mark.parametrize("is_chunked", [False, True])
    async def test_a_body_past_it_is_refused(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
    ) -> None:
        monkeypatch.setattr(limits, "BODY_BYTES_MAX", 999)

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield b" "

        content = chunks() if is_chunked else b" " * 1000
        response = await running.client.post(f"{API}/runs/create", content=content, headers=JSON)

        assert response.status_code == 413
        assert response.json()["message"] == "The request body exceeds 999 bytes."

    async def test_a_body_past_it_is_refused_before_it_is_sent(self, running: Platform) -> None:
        head = (
            f"{REQUEST}content-length: {limits.BODY_BYTES_MAX + 1}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
        )

        answer = await asyncio.wait_for(running.raw(head.encode()), WAIT_S)

        assert status_of(answer) == 413

    async def test_a_client_that_sends_it_all_the_same_reads_the_refusal(
        self, running: Platform, lingering: None
    ) -> None:
        body = b" " * (limits.BODY_BYTES_MAX + 1)

        first = await running.post("runs/create", body)
        second = await running.post("runs/create", {})

        assert (first.status_code, second.status_code) == (413, 200)

    async def test_the_bodies_under_way_have_a_bound_together(
        self, own: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BODIES_BYTES_MAX", 1000)
        reader, writer = await asyncio.open_connection("127.0.0.1", own.port)
        writer.write(f"{REQUEST}content-length: 902\r\n\r\n{{".encode() + b" " * 900)
        small = functools.partial(own.post, "runs/create", b"{}" + b" " * 200)
        refused = await until(small, lambda response: response.status_code != 200)
        writer.write(b"}")
        held = await reader.readuntil(b"\r\n\r\n")
        writer.close()

        assert (refused.status_code, refused.json()["error_code"]) == (429, "RESOURCE_EXHAUSTED")
        assert refused.headers["retry-after"] == "1"
        assert status_of(held) == 200
        assert (await own.post("runs/create", b"{}" + b" " * 998)).status_code == 200

    async def test_a_caller_has_a_part_of_what_they_may_be_together(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BODIES_PER_CALLER_BYTES_MAX", 1000)
        keys = {name: f"the-key-of-{name}-has-32-characters" for name in ("much", "little")}
        tokens_file = tmp_path / "tokens"
        tokens_file.write_text("".join(f"{n}:{hashlib.sha256(key.encode()).hexdigest()}\n" for n, key in keys.items()))

        async with platform(tokens_file=tokens_file) as guarded:

            async def small(name: str) -> httpx.Response:
                headers = {**JSON, "authorization": f"Bearer {keys[name]}"}
                return await guarded.post("runs/create", b"{}" + b" " * 200, headers)

            reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port)
            # The same caller, by other credentials.
            credentials = base64.b64encode(f"anyone:{keys['much']}".encode()).decode()
            head = f"{REQUEST}authorization: Basic {credentials}\r\ncontent-length: 902\r\n\r\n{{"
            writer.write(head.encode() + b" " * 900)
            refused = await until(functools.partial(small, "much"), lambda response: response.status_code != 200)
            other = await small("little")
            writer.write(b"}")
            held = await reader.readuntil(b"\r\n\r\n")
            again = await small("much")
            writer.close()

        assert (refused.status_code, refused.json()["error_code"]) == (429, "RESOURCE_EXHAUSTED")
        assert "a caller's requests" in refused.json()["message"]
        assert [other.status_code, status_of(held), again.status_code] == [200, 200, 200]

    async def test_a_body_has_so_much_time(self, running: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "RECEIVE_TIMEOUT_S", 1)
        sent = f"{REQUEST}content-length: 10\r\nconnection: close\r\n\r\n{{".encode()

        answer = await asyncio.wait_for(running.raw(sent), WAIT_S)

        assert status_of(answer) == 408
        assert b"DEADLINE_EXCEEDED" in answer

    async def test_deep_nesting_is_refused(self, running: Platform) -> None:
        response = await running.post("runs/create", b'{"x":' + b"[" * 200 + b"]" * 200 + b"}")

        assert response.status_code == 400
        assert response.json()["message"] == "The request body is nested deeper than 100 levels."

    async def test_a_batch_of_more_than_a_million_bytes_is_taken(self, running: Platform) -> None:
        tags = [{"key": f"t{number}", "value": "x" * 8000} for number in range(150)]

        assert (await running.post("runs/log-batch", {"run_id": "a", "tags": tags})).status_code == 200


class TestHeads:
    async def test_a_query_up_to_the_bound_is_taken(self, running: Platform) -> None:
        answer = await running.raw(get_run("x" * (limits.QUERY_BYTES_MAX - len("run_id="))))

        assert status_of(answer) == 200

    async def test_a_query_past_it_is_refused(self, running: Platform) -> None:
        answer = await running.raw(get_run("x" * limits.QUERY_BYTES_MAX))

        assert status_of(answer) == 400
        assert b"The query string exceeds 60000 bytes." in answer

    async def test_a_path_past_its_bound_is_refused(self, running: Platform) -> None:
        response = await running.client.get(f"{API}/logged-models/{'x' * limits.PATH_BYTES_MAX}")

        assert (response.status_code, response.json()["message"]) == (400, "The path exceeds 5000 bytes.")

    async def test_headers_past_the_bound_are_refused(self, running: Platform) -> None:
        head = b"GET /version HTTP/1.1\r\nhost: localhost\r\nx: "
        # No more than is read before the refusal: what is left unread when a connection is closed may undo the answer.
        head += b"y" * (limits.HEAD_BYTES_MAX + 1 - len(head))

        answer = await asyncio.wait_for(running.raw(head), WAIT_S)

        assert status_of(answer) == 431

    async def test_many_headers_past_the_bound_are_refused(self, running: Platform) -> None:
        lines = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(98))

        answer = await asyncio.wait_for(
            running.raw(b"GET /version HTTP/1.1\r\nhost: localhost\r\n" + lines + b"\r\n"), WAIT_S
        )

        assert status_of(answer) in (400, 431)

    @pytest.mark.parametrize("sent", [b"", b"GET /version HTT", b"GET /version HTTP/1.1\r\nhost: local"])
    async def test_a_head_has_so_much_time(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch, sent: bytes
    ) -> None:
        monkeypatch.setattr(limits, "RECEIVE_TIMEOUT_S", 0.1)

        answer = await asyncio.wait_for(running.raw(sent), WAIT_S)

        assert status_of(answer) == 408

    async def test_the_next_head_on_a_connection_has_its_own_time(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "RECEIVE_TIMEOUT_S", 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        whole = b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n"

        writer.write(whole + whole + whole[:20])
        answers = await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()

        assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)] == [200, 200, 408]

    async def test_a_connection_may_lie_idle_between_requests(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "RECEIVE_TIMEOUT_S", 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        whole = b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n"

        answers = []
        for _ in range(2):
            writer.write(whole)
            answers.append(status_of(await reader.readuntil(b"3.18.0")))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 1.5)
        writer.close()

        assert answers == [200, 200]

    @pytest.mark.parametrize("request_line", [b"GET / HTTP/9.9", b"\x16\x03\x01\x02", b"GET /\xff HTTP/1.1", b"X"])
    async def test_what_is_no_http_is_refused(self, running: Platform, request_line: bytes) -> None:
        answer = await asyncio.wait_for(running.raw(request_line + b"\r\nhost: localhost\r\n\r\n"), WAIT_S)

        assert status_of(answer) == 400


class TestRequestsUnderWay:
    async def test_too_many_at_once_are_told_to_come_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "REQUESTS_PER_CALLER_MAX", 3)
        async with platform() as full:
            full.script.hold = asyncio.Event()
            asked = [asyncio.create_task(full.get_run()) for _ in range(4)]
            done, held = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S)
            health = await full.client.get("/health")
            full.script.hold.set()
            await asyncio.wait(held)

        (refused,) = [task.result() for task in done]
        assert (refused.status_code, refused.json()["error_code"]) == (429, "RESOURCE_EXHAUSTED")
        assert refused.headers["retry-after"] == "1"
        assert health.status_code == 200
        assert {task.result().status_code for task in held} == {200}
