"""The two systems under test: how each is started, asked whether it is there, and stopped."""

import http.client
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Protocol

from benchmarks import calls, loading
from benchmarks.client import Endpoint
from services.common.settings import Address
from services.local import ports, waiting
from services.local.process import Child, Process
from tests.s3 import S3

HOST = "127.0.0.1"
MODELSTEAD_BIN = Path(sys.executable).parent
MLFLOW_BIN = Path(__file__).parents[1] / ".venv-bench" / "bin"

_START_TIMEOUT_S = 300.0
_ANSWER_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0


class SystemFailed(Exception):
    """A system did not start."""


class System(Protocol):
    """A platform that may be started and stopped many times, on a database that stays."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def admin_url(self) -> str:
        """Its database, as a superuser sees it."""

    def loader(self, endpoint: Endpoint) -> loading.Loader:
        """Return what fills it."""

    def start(self) -> "Running":
        """Start it and wait for its first answer."""

    def start_cold(self) -> "Running":
        """Start it from where a start is timed; for Modelstead that is nothing at all, a database included."""


@dataclass(frozen=True, slots=True)
class Running:
    """A started system, and how long its first answer took. Leaving the context stops it.

    `grpc_address` is where it takes and gives metrics over gRPC, if it does.
    """

    process: Process
    endpoint: Endpoint
    took_s: float
    # Where the registry speaks gRPC; None of MLflow.
    registry_address: str | None = None
    grpc_address: Address | None = None

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        _stop(self.process)


class Modelstead:
    """`modelstead up`."""

    name = "Modelstead"
    version = metadata.version("modelstead-server")

    def __init__(self, *, database_url: str, s3: S3, folder: Path, workers: int = 1) -> None:
        self.admin_url = database_url
        self._workers = workers
        self._s3 = s3
        self._bucket = s3.make_bucket()
        self._folder = folder
        self._cold_starts = 0

    def loader(self, endpoint: Endpoint) -> loading.Loader:
        return loading.RestLoader(endpoint)

    def start(self) -> Running:
        keys = {"access": self._s3.access_key, "secret": self._s3.secret_key}
        for name, key in keys.items():
            (self._folder / f"{name}-key").write_text(key, encoding="ascii")
        return self._up(
            self._folder / "platform",
            *(f"--s3-endpoint={self._s3.endpoint}", f"--s3-public-endpoint={self._s3.endpoint}"),
            f"--s3-bucket={self._bucket}",
            *(f"--s3-{name}-key-file={self._folder / f'{name}-key'}" for name in keys),
            f"--database-url={self.admin_url}",
            f"--workers={self._workers}",
        )

    def start_cold(self) -> Running:
        """Start on an empty folder: `initdb` is part of it."""
        self._cold_starts += 1
        return self._up(self._folder / f"cold-{self._cold_starts}")

    def _up(self, data_dir: Path, *options: str) -> Running:
        address = Address(HOST, _free_ports(4))
        variables = {"MODELSTEAD_PORT": str(address.port), "MODELSTEAD_DATA_DIR": str(data_dir)}
        running = _launch(
            Child(
                name="modelstead",
                argv=[str(MODELSTEAD_BIN / "modelstead"), "up", *options],
                env=_environment(variables),
                log=self._folder / "modelstead.log",
                stop_timeout_s=_STOP_TIMEOUT_S,
            ),
            address,
        )
        return replace(
            running,
            grpc_address=Address(HOST, address.port + 1),
            registry_address=str(Address(HOST, address.port + 3)),
        )


class Mlflow:
    """`mlflow server`, tuned as its users would: see the README beside this file."""

    name = "MLflow"

    def __init__(self, *, admin_url: str, s3: S3, folder: Path) -> None:
        self.admin_url = admin_url
        self._s3 = s3
        self._bucket = s3.make_bucket()
        self.version = _installed_version(MLFLOW_BIN.parent)
        self._folder = folder

    def loader(self, endpoint: Endpoint) -> loading.Loader:
        return loading.CopyLoader(self.admin_url)

    def start(self) -> Running:
        address = Address(HOST, ports.choose(HOST))
        variables = {
            "MLFLOW_BACKEND_STORE_URI": self.admin_url.replace("postgresql://", "postgresql+psycopg2://"),
            # The lighter of its two ways to run: job execution brings five more processes, and none is measured.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_S3_ENDPOINT_URL": self._s3.endpoint,
            "AWS_ACCESS_KEY_ID": self._s3.access_key,
            "AWS_SECRET_ACCESS_KEY": self._s3.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        arguments = ["--host", address.host, "--port", str(address.port), "--workers", "2"]
        arguments += ["--uvicorn-opts", "--loop uvloop --http httptools"]
        arguments += ["--artifacts-destination", f"s3://{self._bucket}"]
        return _launch(
            Child(
                name="mlflow",
                argv=[str(MLFLOW_BIN / "mlflow"), "server", *arguments],
                env=_environment(variables),
                log=self._folder / "mlflow.log",
                stop_timeout_s=_STOP_TIMEOUT_S,
            ),
            address,
        )

    def start_cold(self) -> Running:
        """Start on a database that an earlier start has migrated."""
        return self.start()


def _environment(variables: dict[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of either system, plus `variables`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MODELSTEAD_", "MLFLOW_"))}
    return {**inherited, **variables}


def _launch(child: Child, address: Address) -> Running:
    began = time.perf_counter()
    process = Process(child)
    try:
        waiting.until(lambda: process.ended or _answers(address), timeout_s=_START_TIMEOUT_S)
        took_s = time.perf_counter() - began
        if process.ended or not _answers(address):
            raise SystemFailed(f"{child.name} did not start. It last logged:\n{process.last_lines()}")
    except BaseException:
        _stop(process)
        raise
    return Running(process, Endpoint(address), took_s)


def _stop(process: Process) -> None:
    """Stop a system, and end what it leaves behind: `mlflow server`, if it has to be killed, leaves its workers."""
    process.stop()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _answers(address: Address) -> bool:
    """Tell whether a real call, one that reads the database, is answered with 200."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.request("POST", calls.SEARCH_EXPERIMENTS, '{"max_results": 1}', {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _installed_version(venv: Path) -> str:
    folders = [str(folder) for folder in venv.glob("lib/python*/site-packages")]
    for distribution in metadata.distributions(name="mlflow", path=folders):
        return distribution.version
    raise SystemFailed("Stock MLflow is not installed in .venv-bench: `make bench` does that, or use --skip-mlflow.")


def _free_ports(count: int) -> int:
    """Return the first of so many free ports in a row: the gateway and the three services take one each."""
    while True:
        first = ports.choose(HOST)
        if all(ports.is_free(Address(HOST, first + offset)) for offset in range(1, count)):
            return first
