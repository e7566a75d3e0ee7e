"""What TLS trusts, against servers that only a private authority vouches for."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlflow.entities import Metric

import modelstead
from modelstead import ModelResolver, trust
from modelstead.commands import settings as command_settings
from modelstead.commands.doctor import grpc_port
from modelstead.commands.exits import CommandError
from modelstead.mlflow_plugin import settings as plugin_settings
from modelstead.mlflow_plugin.tracking import TrackingStore, tracking_store
from modelstead.runs import connection, settings
from modelstead.runs.process import Process
from modelstead.runs.settings import SettingsError
from tests.client.authorities import Authority
from tests.client.registry import Registry, state, version
from tests.client.server import IngestServer
from tests.receivers import Answer, Received, Receiver

RUN_ID = "0" * 32
_VARIABLES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A gateway as far as clients ask it, and the ingest server that it tells of, both with TLS."""

    gateway: Receiver
    ingest: IngestServer

    @property
    def address(self) -> str:
        return f"modelstead+tls://127.0.0.1:{self.gateway.port}"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what this machine says of TLS, nor what a test has warned of."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")]:
        monkeypatch.delenv(name)
    plugin_settings._warn.cache_clear()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def site(authority: Authority) -> Iterator[Site]:
    with _site(authority) as running:
        yield running


@contextlib.contextmanager
def _site(authority: Authority, *, asks_clients: bool = False) -> Iterator[Site]:
    gateway = Receiver(tls=authority.of_http(asks_clients=asks_clients))
    with IngestServer(tls=authority.of_grpc(asks_clients=asks_clients)) as ingest, gateway:

        def answer(received: Received) -> Answer:
            if received.path == connection.ADDRESSES_PATH:
                return Answer(body=json.dumps({"tracking": f"grpcs://{ingest.address}"}).encode())
            info = {"run_id": RUN_ID, "experiment_id": "0", "status": "RUNNING", "lifecycle_stage": "active"}
            return Answer(body=json.dumps({"run": {"info": info, "data": {}}}).encode())

        gateway.answers = answer
        yield Site(gateway=gateway, ingest=ingest)


def _logs(site: Site, spool: Path, *, address: str | None = None, **how: Any) -> bool:
    """Log to a site and return whether it arrives."""
    run = modelstead.start_run(address or site.address, run_id=RUN_ID, spool_dir=spool, exit_timeout_s=0, **how)
    run.log({"m": 1.0}, step=7)
    return run.flush(30) and site.ingest.run(RUN_ID).steps() == [7]


def test_ca_file_is_trusted_by_discovery_and_by_grpc(
    site: Site, authority: Authority, process: Process, spool: Path
) -> None:
    assert _logs(site, spool, ca_file=authority.file)


def test_ca_file_may_be_a_folder_as_openssl_names_them(
    site: Site, authority: Authority, process: Process, spool: Path, tmp_path: Path
) -> None:
    (tmp_path / "0a1b2c3d.0").write_bytes(authority.file.read_bytes())
    (tmp_path / "ignored.txt").write_text("nothing", encoding="utf-8")

    assert _logs(site, spool, ca_file=tmp_path)


def test_the_systems_authorities_are_trusted_without_ca_file(
    site: Site, authority: Authority, process: Process, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    assert _logs(site, spool)


def test_the_systems_folder_of_authorities_is_trusted_by_grpc(
    site: Site, authority: Authority, process: Process, spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0a1b2c3d.0").write_bytes(authority.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))

    assert _logs(site, spool, address=f"grpcs://{site.ingest.address}")


def test_ca_file_is_trusted_instead_of_the_systems(
    site: Site, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    how = settings.load({}, address=site.address, ca_file=Authority(tmp_path, "other").file)

    with pytest.raises(connection.DiscoveryError, match="CERTIFICATE_VERIFY_FAILED"):
        connection.resolve(how)
    channel = connection.channel(connection.Endpoint(site.ingest.address, is_tls=True), how)
    with channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/a/b")(b"", timeout=30)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_system_without_authorities_has_those_that_grpc_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")

    assert len(trust.context().get_ca_certs()) > 50
    assert trust.channel_arguments() == (None, None, None)


def test_grpc_finds_roots_by_its_own_variable(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(authority.file))

    assert trust.channel_arguments() == (None, None, None)


def test_a_client_shows_its_certificate_to_discovery_and_to_grpc(
    authority: Authority, process: Process, spool: Path
) -> None:
    with _site(authority, asks_clients=True) as site:
        assert _logs(site, spool, ca_file=authority.file, client_cert_file=authority.client)


def _missing(folder: Path, authority: Authority) -> Path:
    return folder / "missing.pem"


def _text(folder: Path, authority: Authority) -> Path:
    return _written(folder, b"not a certificate")


def _damaged(folder: Path, authority: Authority) -> Path:
    return _written(folder, b"-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n")


def _empty_folder(folder: Path, authority: Authority) -> Path:
    return folder


def _without_key(folder: Path, authority: Authority) -> Path:
    return authority.file


def _of_another_key(folder: Path, authority: Authority) -> Path:
    key, _, _ = authority.server.read_bytes().partition(b"-----BEGIN CERTIFICATE")
    return _written(folder, key + authority.file.read_bytes())


def _with_password(folder: Path, authority: Authority) -> Path:
    return _written(folder, authority.issue("a client", password=b"secret"))


def _written(folder: Path, content: bytes) -> Path:
    file = folder / "file.pem"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("ca_file", _missing, "does not exist"),
        ("ca_file", _text, "has no certificate in PEM"),
        ("ca_file", _damaged, "not PEM"),
        ("ca_file", _empty_folder, "has no certificate in PEM"),
        ("client_cert_file", _missing, "does not exist"),
        ("client_cert_file", _without_key, "has no private key in PEM"),
        ("client_cert_file", _of_another_key, "is not a certificate and its key"),
        ("client_cert_file", _with_password, "has a password"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_once(
    name: str, make: Callable[[Path, Authority], Path], why: str, authority: Authority, tmp_path: Path
) -> None:
    file = make(tmp_path, authority)

    with pytest.raises(SettingsError) as refused:
        settings.load({f"MODELSTEAD_{name.upper()}": str(file)}, address="grpcs://localhost:1")

    assert str(refused.value).startswith(f"{name}={str(file)!r} is not valid: ")
    assert why in str(refused.value)


def test_a_resolver_trusts_the_systems_authorities(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with Registry(tls=authority.of_grpc()) as registry:
        registry.set(state("fraud", 1, version("fraud", 3)))
        with ModelResolver(registry.address, tls=True, wait_s=30) as resolver:
            assert resolver.get("fraud/3").version == "3"


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "MLFLOW_TRACKING_SERVER_CERT_PATH"])
def test_the_doctor_trusts_what_clients_do(
    variable: str, site: Site, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(authority.file))
    target = command_settings.target(f"https://127.0.0.1:{site.gateway.port}", None)

    found = list(grpc_port.examine(target, f"grpcs://{site.ingest.address}"))

    # The server that a test has is not all of tracking; that it says so is an answer.
    assert "UNIMPLEMENTED" in found[-1].seen


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"])
def test_commands_refuse_a_file_that_cannot_be_used(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/nowhere/ca.pem")

    with pytest.raises(CommandError, match=f"{variable}='/nowhere/ca.pem' is not valid: .* does not exist"):
        command_settings.target("https://127.0.0.1", None)


Open = Callable[[str], TrackingStore]


@pytest.fixture
def open_store(spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the store that MLflow has for an address."""
    monkeypatch.setenv("MODELSTEAD_SPOOL_DIR", str(spool))
    monkeypatch.setenv("MODELSTEAD_EXIT_TIMEOUT_S", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    fresh = Process()
    fresh.watches_exit = False
    monkeypatch.setattr("modelstead.mlflow_plugin.tracking.CURRENT", fresh)
    monkeypatch.setattr("modelstead.runs.run.CURRENT", fresh)
    yield tracking_store
    fresh.finish("FINISHED")


def _arrives(site: Site, store: TrackingStore) -> bool:
    """Log by MLflow's store, which asks the gateway for the run, and return whether it arrives by gRPC."""
    store.log_metric(RUN_ID, Metric("m", 1.0, 0, 7))
    return store._recorder.flush(30) and site.ingest.run(RUN_ID).steps() == [7]


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_mlflows_authorities_are_those_of_what_is_logged(
    variable: str, site: Site, authority: Authority, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(authority.file))

    assert _arrives(site, open_store(site.address))


def test_mlflows_client_certificate_is_shown_to_grpc(
    authority: Authority, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority.file))
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(authority.client))
    with _site(authority, asks_clients=True) as site:
        assert _arrives(site, open_store(site.address))


def test_ca_file_goes_before_mlflows_authorities(
    authority: Authority, open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflows = Authority(tmp_path, "other").file
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(mlflows))
    without = open_store("modelstead+tls://127.0.0.1:1")._settings
    monkeypatch.setenv("MODELSTEAD_CA_FILE", str(authority.file))

    found = open_store("modelstead+tls://127.0.0.1:1")._settings

    assert (without.ca_file, found.ca_file) == (mlflows, authority.file)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"TOKEN": "t"}, "Bearer t"),
        ({"USERNAME": "u", "PASSWORD": "p"}, "Basic dTpw"),
        # As MLflow's own calls have it.
        ({"USERNAME": "u", "PASSWORD": "p", "TOKEN": "t"}, "Basic dTpw"),
        ({"USERNAME": "u", "TOKEN": "t"}, "Bearer t"),
    ],
)
def test_what_is_logged_carries_the_credentials_of_mlflows_own_calls(
    given: dict[str, str],
    sent: str,
    site: Site,
    authority: Authority,
    open_store: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(authority.file))
    for name, value in given.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)

    assert _arrives(site, open_store(site.address))

    by_http = {received.headers.get("authorization") for received in site.gateway.received}
    by_grpc = {metadata.get("authorization") for metadata in site.ingest.metadata}
    assert (by_http, by_grpc) == ({sent}, {sent})


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MLFLOW_TRACKING_INSECURE_TLS", "true", "gRPC always checks certificates"),
        ("MLFLOW_TRACKING_AUTH", "kubernetes", "is only for MLflow's own calls"),
        ("MLFLOW_TRACKING_AWS_SIGV4", "true", "is only for MLflow's own calls"),
    ],
)
def test_what_grpc_cannot_do_is_told_once(
    variable: str,
    value: str,
    told: str,
    open_store: Open,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, value)

    for _ in range(2):
        open_store("modelstead+tls://127.0.0.1:1")

    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith(variable)
    assert told in record.message


@pytest.mark.parametrize(
    "variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "REQUESTS_CA_BUNDLE"]
)
def test_a_file_of_mlflows_that_is_not_there_is_refused_at_once(
    variable: str, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/nowhere/ca.pem")

    with pytest.raises(SettingsError, match=f"{variable}='/nowhere/ca.pem' is not valid: .* does not exist"):
        open_store("modelstead+tls://127.0.0.1:1")


def test_a_bundle_for_requests_means_nothing_where_there_is_no_tls(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")

    assert open_store("modelstead://127.0.0.1:1")._settings.ca_file is None
