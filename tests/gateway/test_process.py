"""The gateway as a process, or as several: it starts with good settings only, and ends well."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.common.rpc.server import OPTIONS
from services.gateway.backends import READINESS

ROOT = Path(__file__).parents[2]
FORM = "application/x-www-form-urlencoded"


@contextmanager
def gateway(**variables: str) -> Iterator[subprocess.Popen[str]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MODELSTEAD_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"],
        cwd=ROOT,
        env={**environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def outcome(variables: Mapping[str, str]) -> tuple[int, str]:
    """The exit status and what is said on stderr."""
    with gateway(**variables) as process:
        _, said = process.communicate(timeout=120)
        return process.returncode, said


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError("the gateway did not say where it listens")


def ask(place: str, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> http.client.HTTPResponse:
    """Send one request on a connection of its own, as a page of ours does."""
    connection = http.client.HTTPConnection(place, timeout=30)
    try:
        connection.request(method, path, body, {"sec-fetch-site": "same-origin", **headers})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"MODELSTEAD_LISTEN": "nonsense"}, "MODELSTEAD_LISTEN"),
        ({"MODELSTEAD_LISTEN": "0.0.0.0:0"}, "MODELSTEAD_AUTH=none is refused"),
        ({"MODELSTEAD_AUTH": "tokens"}, "MODELSTEAD_TOKENS_FILE"),
        ({"MODELSTEAD_TRACKING_ADDRESS": "tracking"}, "MODELSTEAD_TRACKING_ADDRESS"),
        ({"MODELSTEAD_ARTIFACTS_ADDRESS": "artifacts"}, "MODELSTEAD_ARTIFACTS_ADDRESS"),
        ({"MODELSTEAD_REGISTRY_ADDRESS": "registry"}, "MODELSTEAD_REGISTRY_ADDRESS"),
        ({"MODELSTEAD_PRESIGNED_ARTIFACTS": "maybe"}, "MODELSTEAD_PRESIGNED_ARTIFACTS"),
        ({"MODELSTEAD_DRAIN_NOTICE_S": "soon"}, "MODELSTEAD_DRAIN_NOTICE_S"),
        ({"MODELSTEAD_WORKERS": "0"}, "MODELSTEAD_WORKERS"),
        ({"MODELSTEAD_BACKEND_CONNECTIONS": "0"}, "MODELSTEAD_BACKEND_CONNECTIONS"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(variables: dict[str, str], named: str) -> None:
    status, said = outcome(variables)

    assert status == 2
    assert named in said
    assert said.startswith("gateway: ")
    assert said.count("\n") == 1


def test_a_port_that_is_taken_stops_the_start_with_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        status, said = outcome({"MODELSTEAD_LISTEN": listen})

    assert status == 2
    assert said.startswith(f"gateway: MODELSTEAD_LISTEN={listen} cannot be listened on")
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number: signal.Signals) -> None:
    with gateway(MODELSTEAD_LISTEN="127.0.0.1:0") as process:
        url = f"http://{address(process)}/version"
        with urllib.request.urlopen(url, timeout=60) as response:
            assert response.read() == b"3.18.0"

        process.send_signal(number)

        assert process.wait(timeout=60) == 0


def test_a_request_under_way_is_answered_before_the_end() -> None:
    with gateway(MODELSTEAD_LISTEN="127.0.0.1:0") as process:
        host, port = address(process).split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            body = b'{"experiment_id": 5}'
            head = "POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            connection.sendall(f"{head}expect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n".encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            connection.sendall(body)
            answer = connection.recv(4096)

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert process.wait(timeout=60) == 0


def test_several_processes_serve_on_one_port_and_a_signal_ends_all_well() -> None:
    with gateway(MODELSTEAD_LISTEN="127.0.0.1:0", MODELSTEAD_WORKERS="2") as process:
        first, second = address(process), address(process)
        with urllib.request.urlopen(f"http://{first}/version", timeout=30) as response:
            assert response.read() == b"3.18.0"

        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=60) == 0
    assert first == second


# Health is asked within a second, and backends are awaited for ten.
@pytest.mark.alone
def test_several_processes_take_calls_only_when_each_can_answer_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as backend:
        port = backend.getsockname()[1]
        addresses = {
            f"MODELSTEAD_{name}_ADDRESS": f"127.0.0.1:{port}" for name in ("TRACKING", "ARTIFACTS", "REGISTRY")
        }
        with gateway(MODELSTEAD_LISTEN="127.0.0.1:0", MODELSTEAD_WORKERS="2", **addresses) as process:
            # One of them has looked, and in vain.
            backend.settimeout(60)
            backend.accept()[0].close()
            backend.close()
            server = grpc.server(ThreadPoolExecutor(), options=OPTIONS)
            checks = health.HealthServicer()
            checks.set(READINESS, health_pb2.HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(checks, server)
            assert server.add_insecure_port(f"127.0.0.1:{port}") == port
            server.start()

            [place] = {address(process), address(process)}
            # Each on a connection of its own, of which either process takes half.
            statuses = {ask(place, "GET", "/health", {}).status for _ in range(32)}

            server.stop(None).wait()

    assert statuses == {200}


@pytest.mark.parametrize("is_shared", [False, True])
def test_several_processes_take_no_port_from_others(is_shared: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=is_shared) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        status, said = outcome({"MODELSTEAD_LISTEN": listen, "MODELSTEAD_WORKERS": "2"})

    assert status == 2
    assert said.startswith(f"gateway: MODELSTEAD_LISTEN={listen} cannot be listened on")
    assert said.count("\n") == 1


def test_a_session_that_one_process_began_is_known_to_all() -> None:
    with gateway(MODELSTEAD_LISTEN="127.0.0.1:0", MODELSTEAD_WORKERS="2", MODELSTEAD_AUTH="dev") as process:
        served = {address(process), address(process)}
        [place] = served
        login = ask(place, "POST", "/console/login", {"content-type": FORM}, b"name=ada&groups=")
        cookie = str(login.headers["set-cookie"]).partition(";")[0]
        # Each on a connection of its own, of which either process takes half.
        statuses = {ask(place, "GET", "/console/login/check", {"cookie": cookie}).status for _ in range(32)}

    assert login.status == 303
    assert statuses == {303}
