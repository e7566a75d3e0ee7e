"""The gateway end to end: HTTP in, a real gRPC server behind it."""

import asyncio
import functools
import json
import logging
import re
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from prometheus_client import REGISTRY

from modelstead.tracking.v1 import metrics_pb2, runs_pb2
from services.gateway import limits
from tests.gateway.conftest import API_KEY
from tests.gateway.harness import API, JSON, WAIT_S, Platform, details, platform, until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_FOUND_PAGE = """<!doctype html>
<html lang=en>
<title>404 Not Found</title>
<h1>Not Found</h1>
<p>The requested URL was not found on the server. \
If you entered the URL manually please check your spelling and try again.</p>
"""
NOT_ALLOWED_PAGE = """<!doctype html>
<html lang=en>
<title>405 Method Not Allowed</title>
<h1>Method Not Allowed</h1>
<p>The method is not allowed for the requested URL.</p>
"""


class TestRequests:
    async def test_a_get_reads_its_query(self, running: Platform) -> None:
        response = await running.get_run("r1")

        assert (
            response.text == '{\n  "run": {\n    "info": {\n      "start_time": 7,\n      "run_id": "r1"\n    }\n  }\n}'
        )
        assert response.headers["content-type"] == "application/json"

    async def test_a_get_without_a_query_reads_its_body(self, running: Platform) -> None:
        response = await running.client.request("GET", f"{API}/runs/get", json={"run_id": "r2"})

        assert response.json()["run"]["info"]["run_id"] == "r2"

    async def test_a_get_with_a_query_awaits_no_body(self, running: Platform) -> None:
        head = f"GET {API}/runs/get?run_id=r3 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\nconnection: close\r\n"

        answer = await asyncio.wait_for(running.raw(f"{head}\r\n".encode()), WAIT_S)

        assert b'"run_id": "r3"' in answer

    @pytest.mark.parametrize(
        ("query", "body", "name"),
        [
            ("?name=query", None, "query"),
            ("?name=query", b"", "query"),
            ("?name=query", b'{"name": "body"}', "body"),
            ("?name=query", b"{}", ""),
            ("", b'{"name": "body"}', "body"),
            ("", None, ""),
        ],
    )
    async def test_a_delete_reads_its_body_or_else_its_query(
        self, running: Platform, query: str, body: bytes | None, name: str
    ) -> None:
        await running.client.request("DELETE", f"{API}/registered-models/delete{query}", content=body)

        assert [request.name for request in running.script.requests] == [name]

    async def test_a_delete_with_a_query_may_have_an_empty_body_in_chunks(self, running: Platform) -> None:
        async def nothing() -> AsyncIterator[bytes]:
            yield b""

        await running.client.request("DELETE", f"{API}/registered-models/delete?name=query", content=nothing())

        assert [request.name for request in running.script.requests] == ["query"]

    async def test_a_post_reads_its_body(self, running: Platform) -> None:
        response = await running.post("runs/create", {"experiment_id": "1", "tags": [{"key": "a", "value": "b"}]})

        assert response.json() == {}
        assert running.script.requests == [runs_pb2.CreateRunRequest(experiment_id="1", tags={"a": "b"})]

    async def test_a_body_may_come_in_chunks(self, running: Platform) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for chunk in (b'{"experiment', b'_id": ', b'"7"}'):
                yield chunk

        await running.client.post(f"{API}/runs/create", content=chunks(), headers=JSON)

        assert running.script.requests == [runs_pb2.CreateRunRequest(experiment_id="7")]

    @pytest.mark.parametrize(
        ("headers", "message"),
        [
            ({}, "Bad Request. Content-Type header is missing."),
            ({"content-type": ""}, "Bad Request. Content-Type must be one of ['application/json']."),
            ({"content-type": "text/plain"}, "Bad Request. Content-Type must be one of ['application/json']."),
        ],
    )
    async def test_a_post_is_json(self, running: Platform, headers: dict[str, str], message: str) -> None:
        response = await running.post("runs/create", b"{}", headers)

        assert (response.status_code, response.json()["message"]) == (400, message)
        assert running.script.requests == []

    async def test_a_content_type_may_have_parameters(self, running: Platform) -> None:
        response = await running.post("runs/create", b"{}", {"content-type": "application/json; charset=utf-8"})

        assert response.status_code == 200

    async def test_an_idempotency_key_is_the_request_id(self, running: Platform) -> None:
        await running.post("runs/create", {"request_id": "body"}, {**JSON, "idempotency-key": "k1"})

        assert running.script.requests[0].request_id == "k1"

    @pytest.mark.parametrize("headers", [{}, {"idempotency-key": ""}])
    async def test_a_body_or_nothing_is_no_idempotency_key(self, running: Platform, headers: dict[str, str]) -> None:
        await running.post("runs/create", {"request_id": "body", "requestId": "body"}, {**JSON, **headers})

        assert running.script.requests == [runs_pb2.CreateRunRequest()]

    async def test_a_header_is_text(self, running: Platform) -> None:
        response = await running.client.post(
            f"{API}/runs/create", json={}, headers={b"idempotency-key": "caf\xe9".encode("latin-1")}
        )

        assert response.status_code == 200
        assert running.script.requests[0].request_id == "caf\xe9"

    async def test_an_idempotency_key_is_ignored_where_there_is_no_request_id(self, running: Platform) -> None:
        response = await running.post("runs/log-batch", {"run_id": "a"}, {**JSON, "idempotency-key": "k1"})

        assert response.json() == {}

    async def test_malformed_input_is_refused_before_the_backend_is_asked(self, running: Platform) -> None:
        response = await running.post("runs/log-batch", b'{"run_id": 5}')

        assert response.status_code == 400
        assert response.json() == {
            "error_code": "INVALID_PARAMETER_VALUE",
            "message": "Invalid value 5 for parameter 'run_id' supplied:  Hint: Value was of type 'int'. "
            "See the API docs for more information about request parameters.",
            "sqlstate": "KAM00",
            "error_class": "INVALID_PARAMETER_VALUE",
        }
        assert running.script.requests == []


class TestRouting:
    async def test_the_web_ui_has_its_own_prefix(self, running: Platform) -> None:
        response = await running.client.get("/ajax-api/2.0/mlflow/runs/get?run_id=a")

        assert response.status_code == 200

    @pytest.mark.parametrize("path", ["/nope", f"{API}/runs/get/", f"{API}/runs", "/api/9.0/mlflow/runs/get"])
    async def test_an_unknown_path_is_not_found(self, running: Platform, path: str) -> None:
        response = await running.client.get(path)

        assert (response.status_code, response.text) == (404, NOT_FOUND_PAGE)
        assert response.headers["content-type"] == "text/html; charset=utf-8"

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("PUT", f"{API}/runs/create", "POST"),
            ("PUT", f"{API}/logged-models/m", "DELETE, GET, PATCH"),
            ("POST", "/health", "GET, HEAD"),
        ],
    )
    async def test_an_unknown_method_is_not_allowed(
        self, running: Platform, method: str, path: str, allowed: str
    ) -> None:
        response = await running.client.request(method, path)

        assert (response.status_code, response.text) == (405, NOT_ALLOWED_PAGE)
        assert response.headers["allow"] == allowed

    async def test_a_method_that_the_backend_lacks_is_not_implemented(self, running: Platform) -> None:
        response = await running.post("experiments/create", {"name": "a"})

        assert (response.status_code, response.json()["error_code"]) == (501, "NOT_IMPLEMENTED")


class TestHeaders:
    async def test_every_answer_forbids_sniffing_and_framing(self, running: Platform) -> None:
        for path in ("/", "/nope", "/health", f"{API}/runs/get?run_id=a", f"{API}/metrics/get-history?run_id=a"):
            headers = (await running.client.get(path)).headers
            assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "SAMEORIGIN"), path

    async def test_a_request_id_is_passed_on_and_returned(self, running: Platform) -> None:
        response = await running.get_run(x_request_id="mine-1")

        assert response.headers["x-request-id"] == "mine-1"
        assert running.script.metadata["x-request-id"] == "mine-1"

    @pytest.mark.parametrize("given", [None, "", "x" * 129, "caf\xe9"])
    async def test_a_request_id_is_made_where_there_is_no_good_one(self, running: Platform, given: str | None) -> None:
        headers = {} if given is None else {"x-request-id": given.encode("latin-1")}

        response = await running.client.get(f"{API}/runs/get?run_id=a", headers=headers)  # type: ignore[arg-type]

        assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
        assert running.script.metadata["x-request-id"] == response.headers["x-request-id"]

    async def test_the_trace_is_passed_on(self, running: Platform) -> None:
        await running.get_run(traceparent=TRACEPARENT, tracestate="a=b")

        assert running.script.metadata["traceparent"] == TRACEPARENT
        assert running.script.metadata["tracestate"] == "a=b"

    async def test_a_trace_state_beyond_its_bound_is_not(self, running: Platform) -> None:
        state = ",".join(f"k{number}={'v' * 200}" for number in range(30))

        response = await running.get_run(traceparent=TRACEPARENT, tracestate=state)

        assert response.status_code == 200
        assert "tracestate" not in running.script.metadata

    async def test_credentials_are_passed_on(self, running: Platform) -> None:
        await running.get_run(authorization="Bearer x")

        assert running.script.metadata["authorization"] == "Bearer x"

    async def test_credentials_longer_than_any_key_are_not(self, running: Platform) -> None:
        response = await running.get_run(authorization="Bearer " + "x" * 9000)

        assert response.status_code == 200
        assert "authorization" not in running.script.metadata

    async def test_other_headers_are_not(self, running: Platform) -> None:
        await running.get_run(x_secret="x", cookie="y")

        assert {"x-secret", "cookie"}.isdisjoint(running.script.metadata)

    async def test_a_call_has_30_seconds(self, running: Platform) -> None:
        await running.get_run()

        assert running.script.deadline_s is not None
        # What is gone of it depends on the machine.
        assert 20 < running.script.deadline_s <= limits.CALL_TIMEOUT_S + 1

    @pytest.mark.parametrize(("asked", "bound_s"), [("20000", 20), ("999999999", 30)])
    async def test_a_client_may_ask_for_less(self, running: Platform, asked: str, bound_s: float) -> None:
        await running.get_run(x_request_timeout_ms=asked)

        assert running.script.deadline_s is not None
        assert bound_s - 9 < running.script.deadline_s <= bound_s + 1

    @pytest.mark.parametrize("asked", ["0", "-1", "x", "", "1.5", "1" * 10])
    async def test_what_is_no_time_is_refused(self, running: Platform, asked: str) -> None:
        response = await running.get_run(x_request_timeout_ms=asked)

        assert response.status_code == 400
        assert "X-Request-Timeout-Ms" in response.json()["message"]

    async def test_a_call_that_takes_too_long_is_given_up(self, running: Platform) -> None:
        running.script.hold = asyncio.Event()

        # Long enough for the call to reach the backend, where it is to end.
        response = await running.get_run(x_request_timeout_ms="3000")

        assert (response.status_code, response.json()["error_code"]) == (504, "DEADLINE_EXCEEDED")
        await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)

    async def test_a_call_that_is_made_again_has_what_is_left_of_the_time(self, running: Platform) -> None:
        running.script.hold = asyncio.Event()
        # As when a connection breaks: nobody told what came of it.
        running.script.run_error = (grpc.StatusCode.UNAVAILABLE, "", ())
        asked = asyncio.create_task(running.get_run(x_request_timeout_ms="20000"))
        await asyncio.wait_for(running.script.called.wait(), WAIT_S)
        await asyncio.sleep(2)
        running.script.hold.set()

        response = await asked

        assert response.status_code == 503
        assert len(running.script.requests) == 2
        assert running.script.deadline_s is not None
        assert 0 < running.script.deadline_s < 19

    async def test_pages_of_other_sites_cannot_write(self, running: Platform) -> None:
        response = await running.post("runs/create", {}, {**JSON, "origin": "http://evil.example"})

        assert (response.status_code, response.text) == (403, "Cross-origin request blocked")
        assert running.script.requests == []

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/", 403), (f"{API}/runs/get", 403), ("/health", 200), ("/readyz", 200), ("/version", 200)],
    )
    async def test_another_name_is_refused_but_for_probes(self, running: Platform, path: str, status: int) -> None:
        response = await running.client.get(path, headers={"host": "evil.example"})

        assert response.status_code == status
        assert status == 200 or response.text == "Invalid Host header - possible DNS rebinding attack detected"


class TestErrors:
    async def test_a_services_error_is_told_as_it_says(self, running: Platform) -> None:
        running.script.run_error = (
            grpc.StatusCode.NOT_FOUND,
            "short",
            details("RESOURCE_DOES_NOT_EXIST", "Run with id=a not found"),
        )

        response = await running.get_run()

        assert response.status_code == 404
        assert response.json() == {
            "error_code": "RESOURCE_DOES_NOT_EXIST",
            "message": "Run with id=a not found",
            "sqlstate": "KAM00",
            "error_class": "RESOURCE_NOT_FOUND",
        }

    async def test_an_unexpected_error_tells_only_its_id(self, running: Platform) -> None:
        running.script.run_error = (grpc.StatusCode.UNKNOWN, "Unexpected <class 'KeyError'>: secret", ())

        response = await running.get_run()

        assert (response.status_code, response.json()["error_code"]) == (500, "INTERNAL_ERROR")
        assert "secret" not in response.text
        assert "KeyError" not in response.text

    @pytest.mark.alone
    async def test_a_backend_that_is_away_is_told_and_found_again(self, own: Platform) -> None:
        await own.backend.stop()
        away = await own.get_run()
        await own.backend.start()
        began = time.monotonic()
        back = await until(own.get_run, lambda response: response.status_code == 200)

        assert (away.status_code, away.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert away.headers["retry-after"] == "1"
        assert str(own.backend.port) not in away.text
        assert "127.0.0.1" not in away.text
        assert back.status_code == 200
        assert time.monotonic() - began < 5

    async def test_what_a_backend_answers_is_not_asked_again(self, running: Platform) -> None:
        away = details("TEMPORARILY_UNAVAILABLE", "away")
        running.script.run_error = (grpc.StatusCode.UNAVAILABLE, "", away)

        response = await running.get_run()

        assert response.status_code == 503
        assert len(running.script.requests) == 1

    async def test_what_a_connection_lost_is_asked_once_more_where_that_is_harmless(self, running: Platform) -> None:
        running.script.run_error = (grpc.StatusCode.UNAVAILABLE, "", ())

        response = await running.get_run()

        assert response.status_code == 503
        assert len(running.script.requests) == 2


class TestStreams:
    def script_points(self, running: Platform, *, messages: int, rows: int = 1) -> None:
        for index in range(messages):
            steps = range(index * rows, (index + 1) * rows)
            table = metrics_pb2.MetricColumns(key=["m"], value=[0.5], timestamp=[7], step=steps)
            running.script.points.append(metrics_pb2.GetMetricHistoryResponse(metrics=table))
        running.script.points.append(metrics_pb2.GetMetricHistoryResponse(next_page_token="t"))

    async def history(self, running: Platform) -> bytes:
        """The answer, with its length as the connection told it."""
        line = f"GET {API}/metrics/get-history?run_id=a&metric_key=m HTTP/1.1"
        return await running.raw(f"{line}\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())

    async def sent_within(self, running: Platform, seconds: float) -> tuple[int, int]:
        before = running.script.sent
        await asyncio.sleep(seconds)
        return before, running.script.sent

    async def test_a_stream_is_one_object(self, running: Platform) -> None:
        self.script_points(running, messages=3, rows=2)

        response = await running.client.get(f"{API}/metrics/get-history?run_id=a&metric_key=m")

        body = response.json()
        assert [row["step"] for row in body["metrics"]] == list(range(6))
        assert list(body) == ["metrics", "next_page_token"]
        assert response.text == json.dumps(body, indent=2)

    async def test_an_empty_stream_is_an_empty_object(self, running: Platform) -> None:
        assert (await running.client.get(f"{API}/metrics/get-history?run_id=a&metric_key=m")).text == "{}"

    async def test_an_error_before_the_first_message_has_its_status(self, running: Platform) -> None:
        running.script.points_error = (grpc.StatusCode.INVALID_ARGUMENT, "", details("INVALID_PARAMETER_VALUE", "no"))

        response = await running.client.get(f"{API}/metrics/get-history?run_id=a&metric_key=m")

        assert (response.status_code, response.json()["message"]) == (400, "no")

    async def test_an_error_after_it_leaves_the_answer_without_an_end(self, running: Platform) -> None:
        self.script_points(running, messages=2)
        running.script.points_error = (grpc.StatusCode.UNAVAILABLE, "", ())

        answer = await self.history(running)

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"step": 0' in answer
        assert not answer.endswith(b"0\r\n\r\n")
        assert b"]" not in answer

    async def test_a_client_that_leaves_ends_the_stream(self, running: Platform) -> None:
        self.script_points(running, messages=1)
        running.script.hold = asyncio.Event()

        async with running.client.stream("GET", f"{API}/metrics/get-history?run_id=a&metric_key=m") as response:
            async for _ in response.aiter_bytes():
                break

        await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)

    async def test_a_client_that_does_not_read_holds_the_stream_back(self, running: Platform) -> None:
        self.script_points(running, messages=1, rows=20_000)
        running.script.points *= 2000
        request = f"GET {API}/metrics/get-history?run_id=a&metric_key=m HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        writer.write(request)

        await asyncio.wait_for(running.script.answered.wait(), WAIT_S)
        sent = await until(functools.partial(self.sent_within, running, 0.5), lambda pair: pair[0] == pair[1])

        assert sent[1] < 1000
        writer.close()

    async def test_a_client_that_never_reads_is_cut_off(
        self, running: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "STALL_TIMEOUT_S", 0.2)
        self.script_points(running, messages=1, rows=20_000)
        running.script.points *= 2000
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        writer.write(
            f"GET {API}/metrics/get-history?run_id=a&metric_key=m HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        )

        await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)
        writer.close()

    async def test_a_client_that_reads_slowly_is_not(self, running: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "STALL_TIMEOUT_S", 1.5)
        self.script_points(running, messages=1, rows=300_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1_000_000)
        writer.write(
            f"GET {API}/metrics/get-history?run_id=a&metric_key=m HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        )

        answer = bytearray()
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += await reader.read(1_000_000)
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        writer.write(b"GET /version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        next_answer = await reader.read()
        writer.close()

        assert len(answer) > 20_000_000
        assert next_answer.startswith(b"HTTP/1.1 200 ")

    async def test_a_client_that_leaves_ends_its_call(
        self, running: Platform, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def lines() -> list[dict[str, object]]:
            return [line for record in caplog.records if (line := vars(record)).get("request_id") == "leaves"]

        caplog.set_level(logging.INFO, "modelstead.http")
        running.script.hold = asyncio.Event()
        asking = asyncio.create_task(running.get_run(x_request_id="leaves"))
        await asyncio.wait_for(running.script.called.wait(), WAIT_S)

        asking.cancel()

        await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)
        (line,) = await until(lines, bool)
        assert (line["status"], line["note"]) == (499, "client gone")


class TestAuthentication:
    @pytest.mark.parametrize("path", [f"{API}/runs/get?run_id=a", "/nope"])
    async def test_strangers_are_turned_away(self, guarded: Platform, path: str) -> None:
        for credentials in (None, b"Bearer wrong", b"Bearer " + b"x" * 9000, b"Basic !", b"Basic \xe9"):
            headers = {b"authorization": credentials} if credentials else {}
            response = await guarded.client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == 'Basic realm="mlflow"'
            assert response.text.startswith("You are not authenticated.")

        assert guarded.script.requests == []

    async def test_a_key_is_taken_as_bearer_or_as_a_password(self, guarded: Platform) -> None:
        bearer = await guarded.get_run(authorization=f"Bearer {API_KEY}")
        basic = await guarded.client.get(f"{API}/runs/get?run_id=a", auth=("anyone", API_KEY))

        assert (bearer.status_code, basic.status_code) == (200, 200)

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/health",
            "/readyz",
            "/version",
            "/api/3.0/mlflow/server-info",
            "/ajax-api/3.0/mlflow/server-info",
            "/openapi.json",
        ],
    )
    async def test_the_gateways_own_pages_are_open(self, guarded: Platform, path: str) -> None:
        assert (await guarded.client.get(path)).status_code == 200


class TestPages:
    async def test_health_is_ok_when_every_backend_is_ready(self, running: Platform) -> None:
        response = await running.client.get("/health")

        assert (response.status_code, response.text) == (200, "OK")
        assert response.headers["content-type"] == "text/plain; charset=utf-8"

    async def test_health_is_not_when_a_backend_is_not(self, own: Platform) -> None:
        await own.backend.set_ready(False)

        response = await own.client.get("/health")

        assert response.status_code == 503
        assert "OK" not in response.text

    async def test_health_is_not_when_a_backend_is_away(self, own: Platform) -> None:
        await own.backend.stop()

        assert (await own.client.get("/health")).status_code == 503

    async def test_a_gateway_is_given_calls_as_long_as_it_reaches_any_service(self) -> None:
        async with platform(is_registry_there=False) as partly:
            with_one_away = [(await partly.client.get(path)).status_code for path in ("/health", "/readyz")]
            run = await partly.get_run()
            await partly.backend.set_ready(False)
            with_all_away = await partly.client.get("/readyz")

        assert (with_one_away, run.status_code) == ([503, 200], 200)
        assert (with_all_away.status_code, with_all_away.text) == (503, "No service is ready.")
        assert with_all_away.headers["retry-after"] == "1"

    async def test_a_gateway_that_stops_is_given_no_more_calls(self, own: Platform) -> None:
        own.gateway.drain()

        assert [(await own.client.get(path)).status_code for path in ("/health", "/readyz")] == [503, 503]

    async def test_the_version_is_mlflows(self, running: Platform) -> None:
        assert (await running.client.get("/version")).text == "3.18.0"

    async def test_server_info_has_mlflows_keys(self, running: Platform) -> None:
        info = (await running.client.get("/api/3.0/mlflow/server-info")).json()

        # As MLflow 3.18.0 answers.
        assert list(info) == [
            "store_type",
            "workspaces_enabled",
            "trace_archival_enabled",
            "multipart_uploads_enabled",
            "multipart_downloads_enabled",
            "artifact_serving_enabled",
            "skill_content_max_size",
            "skill_content_max_files",
            "presigned_upload_run_id_supported",
            "presigned_upload_model_id_supported",
            "model_artifact_presigned_downloads_supported",
            "features_enabled",
            "tracking_auth",
            "artifacts_presigned_only",
        ]
        assert (info["store_type"], info["workspaces_enabled"]) == ("SqlStore", False)
        assert info["artifact_serving_enabled"]
        assert not info["multipart_uploads_enabled"]
        assert not info["multipart_downloads_enabled"]

    async def test_server_info_tells_of_presigned_urls_by_setting(self) -> None:
        async with platform(presigned_artifacts=True) as own:
            info = (await own.client.get("/api/3.0/mlflow/server-info")).json()
            told_to_pages = (await own.client.get("/ajax-api/3.0/mlflow/server-info")).json()

        assert info["multipart_uploads_enabled"]
        assert info["multipart_downloads_enabled"]
        # A page may not talk to an object store.
        assert not told_to_pages["multipart_uploads_enabled"]
        assert not told_to_pages["multipart_downloads_enabled"]

    async def test_it_tells_where_tracking_is_reached(self) -> None:
        async with platform(public_tracking_address=":8081") as own:
            addresses = (await own.client.get("/api/2.0/modelstead/addresses")).json()

        assert addresses == {"tracking": ":8081"}

    async def test_the_first_page_says_what_runs(self, running: Platform) -> None:
        response = await running.client.get("/")

        assert "Modelstead" in response.text
        assert "MLFLOW_TRACKING_URI" in response.text

    async def test_the_api_is_described(self, running: Platform) -> None:
        assert (await running.client.get("/openapi.json")).json()["openapi"].startswith("3.1")

    async def test_a_head_has_no_body(self, running: Platform) -> None:
        response = await running.client.head("/version")

        assert (response.status_code, response.content) == (200, b"")


class TestLog:
    async def test_a_request_is_one_line(self, running: Platform, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "modelstead.http"):
            await running.client.get("/ajax-api/2.0/mlflow/logged-models/secret-id", headers={"x-request-id": "i"})

        (record,) = [vars(record) for record in caplog.records if record.name == "modelstead.http"]
        named = {name: record[name] for name in ("method", "route", "status", "request_id")}
        assert named == {
            "method": "GET",
            "route": "/api/2.0/mlflow/logged-models/{model_id}",
            "status": 501,
            "request_id": "i",
        }
        assert record["duration_ms"] > 0

    async def test_a_request_is_counted_by_route_and_status(self, running: Platform) -> None:
        labels = {"method": f"GET {API}/runs/get", "code": "400"}
        before = REGISTRY.get_sample_value("modelstead_calls_total", labels) or 0

        await running.client.get("/ajax-api/2.0/mlflow/runs/get?run_id=%00")

        assert REGISTRY.get_sample_value("modelstead_calls_total", labels) == before + 1

    async def test_probes_are_not_in_it(self, running: Platform, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "modelstead.http"):
            await running.client.get("/health")

        assert [record for record in caplog.records if record.name == "modelstead.http"] == []
