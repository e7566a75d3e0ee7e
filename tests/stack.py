"""The platform as tests run it: a real Postgres and the real services as processes, each of which can be killed."""

import dataclasses
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.settings import Address
from services.local import ports, waiting
from services.local.data_dir import DataDir
from services.local.plan import LOOPBACK, Plan, UpSettings
from services.local.postgres import EmbeddedPostgres
from services.local.process import Child, Process

READY_TIMEOUT_S = 60


class Stack:
    """Postgres, tracking and gateway. `url` is where REST is spoken, `grpc_address` where tracking is."""

    def __init__(self, path: Path, *, tokens_file: Path | None = None) -> None:
        self.postgres = EmbeddedPostgres(path / "database")
        self._settings = UpSettings(
            data_dir=path / "platform",
            port=_free_pair(),
            auth="tokens" if tokens_file else "none",
            tokens_file=tokens_file,
        )
        self._data_dir: DataDir | None = None
        self._children: dict[str, Child] = {}
        self._processes: dict[str, Process] = {}

    @property
    def url(self) -> str:
        return self._settings.url

    @property
    def tokens_file(self) -> Path:
        assert self._settings.tokens_file
        return self._settings.tokens_file

    @property
    def grpc_address(self) -> str:
        return str(self._settings.tracking)

    def __enter__(self) -> Self:
        self.postgres.start()
        self._data_dir = DataDir(self._settings.data_dir)
        settings = dataclasses.replace(self._settings, database_url=self.postgres.url("tracking"))
        plan = Plan(settings=settings, data_dir=self._data_dir, cluster=None, environ=os.environ)
        self._children = {child.name: child for child in plan.children()}
        for name in self._children:
            self.start(name)
        self.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes.values()):
            process.stop()
        if self._data_dir:
            self._data_dir.close()
        self.postgres.stop()

    def start(self, name: str) -> None:
        """Start `tracking` or `gateway`."""
        self._processes[name] = Process(self._children[name])

    def process(self, name: str) -> Process:
        return self._processes[name]

    def kill(self, name: str) -> None:
        """SIGKILL a service and wait until it is gone."""
        self._processes[name].kill()

    def is_ready(self) -> bool:
        """Whether the gateway says that everything is ready."""
        return ports.answers_ok(self._settings.gateway, "/health")

    def wait_until_ready(self) -> None:
        """Wait for the gateway to say that everything is ready. Fails with the services' last log lines."""
        if not waiting.until(self.is_ready, timeout_s=READY_TIMEOUT_S):
            lines = [f"{name}:\n{process.last_lines()}" for name, process in self._processes.items()]
            raise AssertionError("not ready: " + "\n".join(lines))

    def tracking_is_ready(self) -> bool:
        """Whether tracking itself says that it is ready."""
        with grpc.insecure_channel(self.grpc_address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(service="readiness"), timeout=2)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _free_pair() -> int:
    while True:
        port = ports.choose(LOOPBACK)
        if ports.is_free(Address(LOOPBACK, port + 1)):
            return port
