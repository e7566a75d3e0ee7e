"""`modelstead doctor` on a real platform, on broken ones, and on what is none."""

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from modelstead.cli import application
from modelstead.commands import settings
from modelstead.commands.doctor import grpc_port
from services.local import waiting
from tests.client import terminals
from tests.client.platform import REFUSED, Answer, Platform, error
from tests.compat.rest import Rest
from tests.stack import OBJECT_STORE, Stack, free_ports

OK = {"ok", "skipped"}


@dataclass(frozen=True)
class Examined:
    """How the command ended, and what it found."""

    code: int
    findings: list[dict[str, str]]

    def of(self, check: str) -> dict[str, str]:
        """Return what was found of something, and first what is bad of it."""
        found = [each for each in self.findings if each["check"] == check]
        return min(found, key=lambda each: each["level"] in OK)

    def bad(self) -> set[str]:
        return {each["check"] for each in self.findings if each["level"] not in OK}


def examine(url: str, *arguments: str, **environment: str) -> Examined:
    environ = {**terminals.environment(url), **environment}
    shown = CliRunner().invoke(application(), ["doctor", "--json", *arguments], env=environ)
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception
    return Examined(shown.exit_code, json.loads(shown.stdout)["findings"])


def test_a_platform_that_is_well_has_no_finding_that_is_bad(stack: Stack) -> None:
    found = examine(stack.url)

    assert (found.code, found.bad()) == (0, set())
    looked_at = {each["check"] for each in found.findings}
    assert {"gateway", "ready", "clock", "tracking", "registry", "artifacts", "object store"} <= looked_at
    assert {"gRPC", "messages", "logging", "webhooks"} <= looked_at


def test_a_round_trip_leaves_nothing(stack: Stack) -> None:
    rest = Rest(stack.url)

    found = examine(stack.url, "--write")

    assert (found.code, found.bad()) == (0, set())
    assert found.of("a run")["level"] == found.of("a file")["level"] == "ok"
    search: dict[str, Any] = {"experiment_ids": ["0"], "filter": "attributes.run_name LIKE 'modelstead doctor%'"}
    assert rest.post("runs/search", **search).get("runs", []) == []
    [run, *_] = rest.post("runs/search", **search, run_view_type="DELETED_ONLY")["runs"]
    assert rest.get("artifacts/list", run_id=run["info"]["run_id"]).get("files", []) == []
    rest.close()


def test_people_are_told_in_lines_what_is_wrong_why_and_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_ports()}"

    shown = CliRunner().invoke(application(), ["doctor"], env=terminals.environment(url))

    assert shown.exit_code == 7
    [seen, why, fix] = shown.stdout.splitlines()
    assert seen.startswith(f"problem  gateway       {url} does not answer")
    assert why.strip() == "Nothing of the platform can be reached by it."
    assert fix.strip().startswith("→ Is the address right")


def test_a_server_that_is_not_ours_is_told_as_such(tmp_path: Path) -> None:
    with _site(tmp_path) as url:
        found = examine(url)

    assert (found.code, found.bad()) == (1, {"gateway"})
    assert "not as Modelstead does" in found.of("gateway")["seen"]


def test_a_certificate_that_has_expired_is_told_as_such(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path, days_left=-1)
    with _site(tmp_path, certificate) as url:
        found = examine(url, MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate))

    assert (found.code, found.of("certificate")["level"]) == (7, "problem")
    assert "expired" in found.of("certificate")["seen"]


@pytest.mark.parametrize(("days_left", "level"), [(5, "warning"), (300, "ok")])
def test_a_certificate_that_soon_expires_is_warned_of(tmp_path: Path, days_left: int, level: str) -> None:
    certificate = _certificate(tmp_path, days_left=days_left)
    with _site(tmp_path, certificate) as url:
        found = examine(url, MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate))

    assert found.of("certificate")["level"] == level


def test_looking_for_http2_leaves_other_requests_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _certificate(tmp_path, days_left=300)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    with _site(tmp_path, certificate) as url:
        where = settings.target(url, None)
        found = list(grpc_port.examine(where, url.replace("https:", "grpcs:")))
        assert where.tls
        port = int(url.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            where.tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            offered = connection.selected_alpn_protocol()

    assert [each.check for each in found] == ["gRPC"]
    assert offered is None


def test_a_port_without_tls_is_told_as_such(tmp_path: Path) -> None:
    with _site(tmp_path) as url:
        found = examine(url.replace("http:", "https:"))

    assert found.code == 7
    assert "does not speak TLS" in found.of("certificate")["seen"]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Without a registry and without S3, and where tracking is said to be is a server of files."""
    with _site(tmp_path_factory.mktemp("site")) as site:
        extra = {"gateway": {"MODELSTEAD_PUBLIC_TRACKING_ADDRESS": site.removeprefix("http://")}}
        with Stack(tmp_path_factory.mktemp("broken"), extra=extra) as running:
            running.kill("registry")
            running.kill(OBJECT_STORE)
            yield running


def test_a_platform_that_is_broken_is_told_what_is_and_what_is_not(broken: Stack) -> None:
    seen: list[Examined] = []

    def is_all_seen() -> bool:
        seen.append(examine(broken.url))
        return seen[-1].bad() == {"ready", "registry", "object store", "gRPC"}

    assert waiting.until(is_all_seen, timeout_s=60), seen[-1].findings

    found = seen[-1]
    assert found.code == 7
    assert "does not answer" in found.of("registry")["seen"]
    assert "does not answer" in found.of("object store")["seen"]
    assert "does not speak HTTP/2" in found.of("gRPC")["seen"]
    assert found.of("tracking")["level"] == "ok"
    assert all({"seen", "why", "fix"} <= set(each) for each in found.findings if each["level"] not in OK)


def test_a_round_trip_through_a_broken_platform_tells_of_the_file(broken: Stack) -> None:
    found = examine(broken.url, "--write")

    assert found.of("a run")["level"] == "ok"
    assert found.of("a file")["level"] == "problem"


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A gateway that answers as a test says; gRPC is not published."""
    with Platform() as running:
        running.answer("GET /version", Answer(body="3.18.0"))
        running.answer("GET /health", Answer(body="OK"))
        running.answer("GET /api/2.0/modelstead/addresses", Answer(body={"tracking": ""}))
        for service in ("tracking", "registry", "artifacts"):
            running.answer(f"GET status/{service}", Answer(body=_status()))
        yield running


def _status(*, replica: str = "a", version: str = "1.0", schema_revision: str = "0004", **fields: Any) -> Any:
    process = {"version": version, "replica": replica, "schema_revision": schema_revision}
    return {"process": process, "object_store_answers": True, "hears_of_changes": True, **fields}


@pytest.mark.parametrize(
    ("service", "fields", "check"),
    [
        ("tracking", {"seal_lag_ms": 61_000}, "sealing"),
        ("tracking", {"bytes_under_way": 90, "bytes_under_way_max": 100}, "ingest"),
        ("tracking", {"unsent_age_ms": 61_000, "unsent_point_count": 5}, "backlog"),
        ("registry", {"delivery_lag_ms": 61_000}, "webhooks"),
        ("registry", {"dead_delivery_count": 1}, "webhooks"),
        ("registry", {"hears_of_changes": False}, "lookups"),
        ("artifacts", {"object_store_answers": False}, "object store"),
        ("artifacts", {"pending_upload_count": 10_000}, "uploads"),
        ("artifacts", {"version": "1.1"}, "versions"),
    ],
)
def test_what_is_beyond_its_bound_is_told(platform: Platform, service: str, fields: dict[str, Any], check: str) -> None:
    assert examine(platform.url).bad() == {"gRPC"}

    platform.answer(f"GET status/{service}", Answer(body=_status(**fields)))

    assert examine(platform.url).bad() == {"gRPC", check}


def test_replicas_of_two_schemas_are_told(platform: Platform) -> None:
    statuses = [_status(), _status(replica="b", schema_revision="0003")]
    platform.answer("GET status/tracking", *(Answer(body=each) for each in statuses))

    found = examine(platform.url)

    assert "0003, 0004" in found.of("tracking")["seen"]
    assert found.code == 1


@pytest.mark.parametrize("busy", ["a", "b"])
def test_what_is_wrong_with_one_replica_is_told(platform: Platform, busy: str) -> None:
    statuses = [_status(replica=name, unsent_age_ms=95_000 * (name == busy)) for name in "ab"]
    platform.answer("GET status/tracking", *(Answer(body=each) for each in statuses))

    found = examine(platform.url)

    assert found.bad() == {"gRPC", "backlog"}
    assert "logging" not in {finding["check"] for finding in found.findings}


def test_a_caller_that_may_not_look_is_told_to_bring_a_key(platform: Platform) -> None:
    for service in ("tracking", "registry", "artifacts"):
        platform.answer(f"GET status/{service}", REFUSED)

    found = examine(platform.url)

    assert found.code == 3
    assert "--token-file" in found.of("tracking")["fix"]


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (-3600, "warning"), (3600, "warning")])
def test_a_clock_that_is_wrong_is_told(platform: Platform, ahead_s: int, level: str) -> None:
    platform.ahead_s = ahead_s

    assert examine(platform.url).of("clock")["level"] == level


def test_a_gateway_that_is_not_ready_is_told(platform: Platform) -> None:
    platform.answer("GET /health", error(503, "TEMPORARILY_UNAVAILABLE", "Not every service is ready."))

    found = examine(platform.url)

    assert (found.code, found.of("ready")["level"]) == (7, "problem")


def test_a_gateway_that_says_nothing_of_its_health_is_told(platform: Platform) -> None:
    platform.answer("GET /health", Answer(cut=True))

    found = examine(platform.url)

    assert (found.code, found.of("ready")["level"], found.of("clock")["level"]) == (7, "problem", "skipped")


@contextlib.contextmanager
def _site(folder: Path, certificate: Path | None = None) -> Iterator[str]:
    """A server of files, with TLS if it has a certificate."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Quiet)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _certificate(folder: Path, *, days_left: float) -> Path:
    """A certificate for this machine that is its own authority, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days_left)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - datetime.timedelta(days=365))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, pem = folder / "certificate.pem", serialization.Encoding.PEM
    path.write_bytes(made.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.with_suffix(".key").write_bytes(secret)
    return path
