"""`modelstead up` end to end: every process real, reached as a user reaches it."""

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from services.common.settings import Address
from services.local import orphans, ports, waiting
from services.local.postgres import EmbeddedPostgres

READY_TIMEOUT_S = 60.0
LAUNCHER_PSS_MAX_KIB = 40 * 1024


@dataclass(slots=True, kw_only=True)
class Up:
    """A `modelstead up` that can be started any number of times on one data folder."""

    command: list[str]
    gateway: Address
    data_path: Path
    launcher: "subprocess.Popen[str] | None" = None

    def start(self, *options: str) -> None:
        """Start, and wait until the gateway answers that all is ready."""
        arguments = ["up", "--port", str(self.gateway.port), "--data-dir", str(self.data_path), *options]
        self.launcher = subprocess.Popen(
            [*self.command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert waiting.until(lambda: self.ready or self.ended, timeout_s=READY_TIMEOUT_S)
        assert self.ready, self.launcher.communicate()[0]

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

    def pid(self, module: str) -> int:
        """Return the process id of a running service."""
        for pid in orphans.find_children(self.data_path):
            if module in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
        raise AssertionError(f"{module} does not run")


@pytest.fixture
def up(command: list[str], gateway: Address, data_path: Path) -> Iterator[Up]:
    up = Up(command=command, gateway=gateway, data_path=data_path)
    yield up
    if up.launcher is not None and not up.ended:
        print(up.stop()[1])
    for log in sorted((data_path / "logs").glob("*.log")):
        print(f"{log.name}:\n{log.read_text()[-4000:]}")


def test_it_says_what_runs_and_what_to_do_next(up: Up) -> None:
    up.start()

    printed = up.read_through("sklearn_autolog.py")

    assert f"gateway   http://{up.gateway}" in printed
    assert f"tracking  127.0.0.1:{up.gateway.port + 1}" in printed
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
    up.stop()

    up.start()

    assert _experiment_id(up.gateway, "kept") == experiment_id


def test_what_was_acknowledged_survives_a_killed_launcher(up: Up) -> None:
    up.start()
    experiment_id = _create_experiment(up.gateway, "kept")
    assert up.launcher is not None
    up.launcher.kill()
    up.launcher.communicate()

    up.start()

    assert _experiment_id(up.gateway, "kept") == experiment_id


def test_a_killed_database_comes_back(up: Up) -> None:
    up.start()
    experiment_id = _create_experiment(up.gateway, "kept")
    lock_file = up.data_path / "postgres" / "postmaster.pid"

    os.kill(int(lock_file.read_text().split()[0]), signal.SIGKILL)

    assert waiting.until(lambda: _answers(up.gateway, "kept", experiment_id), timeout_s=READY_TIMEOUT_S)
    assert "postgres ended (SIGKILL)" in up.stop()[1]


def test_a_database_of_ones_own_is_used_instead(up: Up, tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "own") as own:
        with psycopg.connect(own.url()) as connection:
            connection.execute("CREATE ROLE somebody LOGIN PASSWORD 'open sesame'")
            connection.execute("GRANT CONNECT, CREATE ON DATABASE modelstead TO somebody")
            connection.execute("DROP SCHEMA tracking")

        up.start("--database-url", f"postgresql://somebody:open%20sesame@{own.address}/modelstead")
        _create_experiment(up.gateway, "kept")
        code, printed = up.stop()

    assert code == 0
    assert "sesame" not in printed
    assert not (up.data_path / "postgres").exists()


def test_migrate_prepares_the_database_and_leaves_no_process(up: Up) -> None:
    migrated = subprocess.run(
        [*up.command, "migrate", "--data-dir", str(up.data_path)], capture_output=True, text=True, check=False
    )

    assert migrated.returncode == 0, migrated.stderr
    assert orphans.find_children(up.data_path) == []
    with (
        EmbeddedPostgres(up.data_path) as postgres,
        psycopg.connect(postgres.url("tracking")) as connection,
    ):
        assert connection.execute("SELECT count(*) FROM tracking.runs").fetchone() == (0,)


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
    _create_experiment(up.gateway, "kept", Authorization="Bearer foo")


def _create_experiment(gateway: Address, name: str, **headers: str) -> str:
    body = json.dumps({"name": name}).encode()
    url = f"http://{gateway}/api/2.0/mlflow/experiments/create"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=10) as answer:
        experiment_id = json.load(answer)["experiment_id"]
    assert isinstance(experiment_id, str)
    return experiment_id


def _experiment_id(gateway: Address, name: str) -> object:
    url = f"http://{gateway}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["experiment"]["experiment_id"]


def _answers(gateway: Address, name: str, experiment_id: str) -> bool:
    try:
        return _experiment_id(gateway, name) == experiment_id
    except OSError:
        return False
