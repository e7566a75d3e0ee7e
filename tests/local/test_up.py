"""`modelstead up` end to end: every process real, reached as a user reaches it."""

import http.client
import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from services.common.settings import Address
from services.local import orphans, ports, waiting
from services.local.postgres import EmbeddedPostgres
from tests.s3 import EmbeddedS3

READY_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 60.0
LAUNCHER_PSS_MAX_KIB = 40 * 1024
# Whoever asks goes on asking.
_NOT_YET = (OSError, http.client.HTTPException)

# Each starts a platform, some of them twice, on a machine that does other work too.
pytestmark = pytest.mark.timeout(900)


@dataclass(slots=True, kw_only=True)
class Up:
    """A `modelstead up` that can be started any number of times on one data folder."""

    command: list[str]
    gateway: Address
    data_path: Path
    launcher: "subprocess.Popen[str] | None" = None

    def start(self, *options: str) -> str:
        """Start, wait until it says that all is ready, and return what it printed.

        Before that the launcher takes whatever ends for a failed start.
        """
        arguments = ["up", "--port", str(self.gateway.port), "--data-dir", str(self.data_path), *options]
        self.launcher = subprocess.Popen(
            [*self.command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        printed = self.read_through("sklearn_autolog.py")
        assert "is ready" in printed, printed
        return printed

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Ask it to stop as Ctrl-C does. Returns its exit code and what it printed."""
        assert self.launcher is not None
        self.launcher.send_signal(number)
        printed = self.launcher.communicate(timeout=READY_TIMEOUT_S)[0]
        return self.launcher.returncode, printed

    def read_through(self, text: str) -> str:
        """Return what it prints up to the line that contains `text`."""
        assert self.launcher is not None
        assert self.launcher.stdout is not None
        lines = []
        for line in self.launcher.stdout:
            lines.append(line)
            if text in line:
                break
        return "".join(lines)

    @property
    def ready(self) -> bool:
        return ports.answers_ok(self.gateway, "/health")

    @property
    def ended(self) -> bool:
        return self.launcher is not None and self.launcher.poll() is not None

    def pid(self, argument: str) -> int | None:
        """Return the process id of the program that was started with an argument, None while it does not run."""
        for pid in orphans.find_children(self.data_path):
            with suppress(FileNotFoundError, ProcessLookupError):
                if argument in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    return pid
        return None


@pytest.fixture
def up(command: list[str], gateway: Address, data_path: Path) -> Iterator[Up]:
    up = Up(command=command, gateway=gateway, data_path=data_path)
    yield up
    if up.launcher is not None and not up.ended:
        print(up.stop()[1])
    for log in sorted((data_path / "logs").glob("*.log")):
        print(f"{log.name}:\n{log.read_text()[-4000:]}")


def test_it_says_what_runs_and_what_to_do_next(up: Up) -> None:
    printed = up.start()

    assert f"gateway    http://{up.gateway}" in printed
    assert f"tracking   127.0.0.1:{up.gateway.port + 1}" in printed
    assert f"artifacts  127.0.0.1:{up.gateway.port + 2}" in printed
    assert f"registry   127.0.0.1:{up.gateway.port + 3}" in printed
    assert re.search(r"objects    http://127\.0\.0\.1:\d+  S3", printed)
    assert f"export MLFLOW_TRACKING_URI=http://{up.gateway}" in printed
    assert "python examples/sklearn_autolog.py" in printed
    assert up.stop() == (0, "Stopping. Another Ctrl-C hurries.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_leaves_no_process(up: Up, number: signal.Signals) -> None:
    up.start()

    code, _ = up.stop(number)

    assert code == 0
    assert orphans.find_children(up.data_path) == []
    assert orphans.find_postgres(up.data_path) == []
    assert ports.is_free(up.gateway)


def test_a_second_start_finds_the_data(up: Up) -> None:
    up.start()
    experiment_id = _create_experiment(up.gateway, "kept")
    _upload(up.gateway, "kept/file", b"contents")
    up.stop()

    up.start()

    assert _experiment_id(up.gateway, "kept") == experiment_id
    assert _download(up.gateway, "kept/file") == b"contents"


def test_what_was_acknowledged_survives_a_killed_launcher(up: Up) -> None:
    up.start()
    experiment_id = _create_experiment(up.gateway, "kept")
    _upload(up.gateway, "kept/file", b"contents")
    assert up.launcher is not None
    up.launcher.kill()
    up.launcher.communicate()

    up.start()

    assert _experiment_id(up.gateway, "kept") == experiment_id
    assert _download(up.gateway, "kept/file") == b"contents"


def test_several_processes_of_each_service_end_with_the_launcher_and_make_room(up: Up) -> None:
    up.start("--workers", "2")
    experiment_id = _create_experiment(up.gateway, "kept")
    assert up.launcher is not None
    up.launcher.kill()
    up.launcher.communicate()

    up.start("--workers", "2")
    assert _experiment_id(up.gateway, "kept") == experiment_id
    code, _ = up.stop()

    assert code == 0
    assert orphans.find_children(up.data_path) == []
    assert ports.is_free(up.gateway)


@pytest.mark.parametrize(
    "argument", ["services.tracking", "services.artifacts", "services.registry", "services.gateway", "mini"]
)
def test_a_killed_service_comes_back(up: Up, argument: str) -> None:
    up.start()
    killed = up.pid(argument)
    assert killed is not None

    os.kill(killed, signal.SIGKILL)

    assert waiting.until(lambda: up.pid(argument) not in (None, killed) and up.ready, timeout_s=READY_TIMEOUT_S)
    assert waiting.until(lambda: _uploads(up.gateway), timeout_s=READY_TIMEOUT_S)
    assert "ended (SIGKILL)" in up.stop()[1]


def test_a_killed_database_comes_back(up: Up) -> None:
    up.start()
    experiment_id = _create_experiment(up.gateway, "kept")
    killed = _postmaster(up)
    assert killed is not None

    os.kill(killed, signal.SIGKILL)

    assert waiting.until(lambda: _postmaster(up) not in (None, killed), timeout_s=READY_TIMEOUT_S)
    assert waiting.until(lambda: _answers(up.gateway, "kept", experiment_id), timeout_s=READY_TIMEOUT_S)
    assert "postgres ended (SIGKILL)" in up.stop()[1]


def test_a_database_of_ones_own_is_used_instead(up: Up, tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "own") as own:
        with psycopg.connect(own.url()) as connection:
            connection.execute("CREATE ROLE somebody LOGIN PASSWORD 'open sesame'")
            connection.execute("GRANT CONNECT, CREATE ON DATABASE modelstead TO somebody")
            connection.execute("DROP SCHEMA tracking")
            connection.execute("DROP SCHEMA artifacts")
            connection.execute("DROP SCHEMA registry")

        up.start("--database-url", f"postgresql://somebody:open%20sesame@{own.address}/modelstead")
        _create_experiment(up.gateway, "kept")
        _upload(up.gateway, "kept/file", b"contents")
        code, printed = up.stop()

    assert code == 0
    assert "sesame" not in printed
    assert not (up.data_path / "postgres").exists()


def test_an_s3_of_ones_own_is_used_instead(up: Up, tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "own") as own:
        bucket = own.s3.make_bucket()
        (tmp_path / "access-key").write_text(own.s3.access_key)
        (tmp_path / "secret-key").write_text(own.s3.secret_key)

        printed = up.start(
            *("--s3-endpoint", own.s3.endpoint, "--s3-bucket", bucket),
            *("--s3-access-key-file", str(tmp_path / "access-key")),
            *("--s3-secret-key-file", str(tmp_path / "secret-key")),
        )
        _upload(up.gateway, "kept/file", b"contents")
        objects = list(own.s3.client().list_objects(bucket_name=bucket, recursive=True))
        up.stop()

    assert "yours, from --s3-endpoint" in printed
    assert len(objects) == 1
    assert not (up.data_path / "object-store").exists()


def test_a_store_that_the_operator_allows_is_used(up: Up, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    stores = tmp_path / "stores.toml"
    stores.write_text(f'[stores.shared]\nroot = "file://{tmp_path}/shared"\n')

    up.start("--artifact-stores", str(stores))

    with pytest.raises(urllib.error.HTTPError, match="400"):
        _create_experiment(up.gateway, "refused", artifact_location=f"file://{tmp_path}/elsewhere")
    _create_experiment(up.gateway, "kept", artifact_location=f"file://{tmp_path}/shared/kept")


def test_migrate_prepares_the_database_and_leaves_no_process(up: Up) -> None:
    migrated = subprocess.run(
        [*up.command, "migrate", "--data-dir", str(up.data_path)], capture_output=True, text=True, check=False
    )

    assert migrated.returncode == 0, migrated.stderr
    assert orphans.find_children(up.data_path) == []
    with EmbeddedPostgres(up.data_path) as postgres:
        for role, table in (("tracking", "runs"), ("artifacts", "artifacts"), ("registry", "model_versions")):
            with psycopg.connect(postgres.url(role)) as connection:
                assert connection.execute(f"SELECT count(*) FROM {role}.{table}").fetchone() == (0,)


@pytest.mark.alone
def test_the_launcher_stays_small(up: Up) -> None:
    up.start()

    assert up.launcher is not None
    rollup = Path(f"/proc/{up.launcher.pid}/smaps_rollup").read_text()

    pss_kib = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss_kib < LAUNCHER_PSS_MAX_KIB


def test_tokens_are_demanded_when_asked_for(up: Up, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("ann:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n")

    up.start("--auth", "tokens", "--tokens-file", str(tokens))

    with pytest.raises(urllib.error.HTTPError, match="401"):
        _create_experiment(up.gateway, "refused")
    _create_experiment(up.gateway, "kept", key="foo")


def _postmaster(up: Up) -> int | None:
    """Return the process of Postgres; None while it has none, or has not said which."""
    with suppress(FileNotFoundError):
        words = (up.data_path / "postgres" / "postmaster.pid").read_text().split()
        return int(words[0]) if words else None
    return None


def _create_experiment(gateway: Address, name: str, *, artifact_location: str = "", key: str = "") -> str:
    body = json.dumps({"name": name, "artifact_location": artifact_location}).encode()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"http://{gateway}/api/2.0/mlflow/experiments/create"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
        experiment_id = json.load(answer)["experiment_id"]
    assert isinstance(experiment_id, str)
    return experiment_id


def _experiment_id(gateway: Address, name: str) -> object:
    url = f"http://{gateway}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}"
    with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
        return json.load(answer)["experiment"]["experiment_id"]


def _upload(gateway: Address, path: str, contents: bytes) -> None:
    url = f"http://{gateway}/api/2.0/mlflow-artifacts/artifacts/{path}"
    request = urllib.request.Request(url, contents, method="PUT")
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
        assert answer.status == 200


def _download(gateway: Address, path: str) -> bytes:
    url = f"http://{gateway}/api/2.0/mlflow-artifacts/artifacts/{path}"
    with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
        return bytes(answer.read())


def _uploads(gateway: Address) -> bool:
    try:
        _upload(gateway, "kept/file", b"contents")
        return _download(gateway, "kept/file") == b"contents"
    except _NOT_YET:
        return False


def _answers(gateway: Address, name: str, experiment_id: str) -> bool:
    try:
        return _experiment_id(gateway, name) == experiment_id
    except _NOT_YET:
        return False
