"""The platform as tests run it: real Postgres, S3 and services as processes, each of which can be killed."""

import dataclasses
import os
import random
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.auth import AuthKind
from services.common.settings import Address
from services.local import ports, waiting
from services.local.data_dir import DataDir
from services.local.object_store import ACCESS_KEY, ObjectStore
from services.local.plan import LOOPBACK, Plan, S3Settings, UpSettings
from services.local.postgres import EmbeddedPostgres
from services.local.process import Child, Process
from tests import artifact_stores, patient
from tests.s3 import S3

READY_TIMEOUT_S = 180
# A machine that does other work is no reason to kill a service that is about to end; who judges how long that takes
# measures it.
_STOP_TIMEOUT_S = 60.0
_BASES = range(10_000, 19_997, 4)
OBJECT_STORE = "object-store"
# The bucket of an embedded S3, which is there for this platform alone.
BUCKET = "modelstead"
# Receivers of webhooks in tests are on this machine.
_WEBHOOKS_MAY_STAY_HERE = {"MODELSTEAD_WEBHOOK_NETWORKS": "127.0.0.1/32", "MODELSTEAD_WEBHOOK_PLAIN_HTTP": "true"}


class Stack:
    """Postgres, S3, tracking, artifacts, registry and gateway. `url` is where REST is spoken, `grpc_address` where
    tracking is.

    `s3` takes another S3 than an embedded one. What `artifact_stores` says, in TOML, is what the operator allows.
    `root_path` is the prefix at which a proxy has the platform; the gateway is there with it and without. `workers` is
    how many processes each service has. `extra` has variables of single services, by name.

    Services are patient with each other, with Postgres and with S3, unless a test judges how soon they give up on what
    is away; `is_patient` is for that. Workers, where there are several, are as the product has them.
    """

    def __init__(
        self,
        path: Path,
        *,
        tokens_file: Path | None = None,
        auth: AuthKind | None = None,
        s3: S3 | None = None,
        artifact_stores: str = artifact_stores.TOML,
        root_path: str = "",
        workers: int = 1,
        extra: Mapping[str, Mapping[str, str]] | None = None,
        is_patient: bool = True,
    ) -> None:
        self.postgres = EmbeddedPostgres(path / "database")
        self._path = path
        self._tokens_file = tokens_file
        self._auth = auth or (AuthKind.TOKENS if tokens_file else AuthKind.NONE)
        self._s3 = s3
        self._artifact_stores = artifact_stores
        self._root_path = root_path
        self._workers = workers
        self._extra = extra or {}
        self._is_patient = is_patient
        self._port = free_ports()
        self._bucket = BUCKET
        self._data_dir: DataDir | None = None
        self._plan: Plan | None = None
        self._children: dict[str, Child] = {}
        self._processes: dict[str, Process] = {}

    @property
    def url(self) -> str:
        return self.plan.settings.url

    @property
    def tokens_file(self) -> Path:
        assert self._tokens_file
        return self._tokens_file

    @property
    def grpc_address(self) -> str:
        return str(self.plan.settings.tracking)

    @property
    def artifacts_address(self) -> str:
        return str(self.plan.settings.artifacts)

    @property
    def registry_address(self) -> str:
        return str(self.plan.settings.registry)

    @property
    def s3(self) -> S3:
        """The S3 that the artifact service keeps its objects in, in the bucket `bucket`."""
        if self._s3:
            return self._s3
        store = self.plan.object_store
        assert store
        return S3(endpoint=f"http://{store.address}", access_key=ACCESS_KEY, secret_key=store.secret_key)

    @property
    def bucket(self) -> str:
        return self._bucket

    @property
    def plan(self) -> Plan:
        assert self._plan, "not started"
        return self._plan

    def __enter__(self) -> Self:
        try:
            self._enter()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _enter(self) -> None:
        self.postgres.start()
        data_dir = self._data_dir = DataDir(self._path / "platform")
        self._plan = Plan(
            settings=self._settings(data_dir),
            data_dir=data_dir,
            cluster=self.postgres.cluster,
            object_store=None if self._s3 else ObjectStore(data_dir),
            environ={**os.environ, **_WEBHOOKS_MAY_STAY_HERE},
        )
        mine = [child for child in self._plan.children() if child.name != "postgres"]
        self._children = {
            child.name: dataclasses.replace(
                child,
                argv=patient.command(child.argv) if self._is_patient else child.argv,
                env={**child.env, **self._extra.get(child.name, {})},
                stop_timeout_s=child.stop_timeout_s if child.name == OBJECT_STORE else _STOP_TIMEOUT_S,
            )
            for child in mine
        }
        for name in self._children:
            self.start(name)
        self.wait_until_ready()

    def stop(self) -> None:
        """Stop everything that runs."""
        for process in reversed(self._processes.values()):
            process.stop()
        if self._s3 and self._bucket != BUCKET:
            self._s3.remove_bucket(self._bucket)
        if self._data_dir:
            self._data_dir.close()
        self.postgres.stop()

    def start(self, name: str, **variables: str) -> None:
        """Start `object-store`, `tracking`, `artifacts`, `registry` or `gateway`, with some variables more."""
        child = self._children[name]
        child = dataclasses.replace(child, env={**child.env, **variables})
        if child.prepare:
            child.prepare()
        self._processes[name] = Process(child)

    def start_replica(self, name: str) -> str:
        """Start one more process of a service over the same database, wait until it is ready, and return its address.

        The gateway does not know of it.
        """
        address = str(Address(LOOPBACK, free_ports()))
        child = self._children[name]
        number = sum(other.startswith(f"{name}-") for other in self._processes) + 1
        replica = dataclasses.replace(
            child,
            name=f"{name}-{number}",
            env={**child.env, "MODELSTEAD_LISTEN": address},
            log=child.log.with_name(f"{name}-{number}.log"),
            prepare=None,
        )
        process = self._processes[replica.name] = Process(replica)
        is_ready = waiting.until(lambda: process.ended or is_ready_at(address), timeout_s=READY_TIMEOUT_S)
        assert is_ready, process.last_lines()
        assert not process.ended, process.last_lines()
        return address

    def process(self, name: str) -> Process:
        return self._processes[name]

    def kill(self, name: str) -> None:
        """SIGKILL a service and wait until it is gone."""
        self._processes[name].kill()

    def is_ready(self) -> bool:
        """Whether the gateway says that everything is ready, and S3 answers."""
        return self.plan.is_ready()

    def wait_until_ready(self) -> None:
        """Wait for everything to be ready. Fails with the services' last log lines."""
        # Which of several workers is asked is chance, and each has to be ready.
        times = 1 if self._workers == 1 else 8 * self._workers
        is_ready = waiting.until(
            lambda: self._has_ended() or all(self.is_ready() for _ in range(times)), timeout_s=READY_TIMEOUT_S
        )
        if self._has_ended() or not is_ready:
            lines = [f"{name}:\n{process.last_lines()}" for name, process in self._processes.items()]
            raise AssertionError("not ready: " + "\n".join(lines))

    def tracking_is_ready(self) -> bool:
        """Whether tracking itself says that it is ready."""
        return is_ready_at(self.grpc_address)

    def artifacts_are_ready(self) -> bool:
        """Whether the artifact service itself says that it is ready."""
        return is_ready_at(self.artifacts_address)

    def _has_ended(self) -> bool:
        return any(process.ended for process in self._processes.values())

    def _settings(self, data_dir: DataDir) -> UpSettings:
        stores = data_dir.path / "stores.toml"
        stores.write_text(self._artifact_stores, encoding="utf-8")
        return UpSettings(
            data_dir=data_dir.path,
            port=self._port,
            auth=self._auth.value,
            tokens_file=self._tokens_file,
            artifact_stores=stores,
            s3=self._other_s3(data_dir),
            root_path=self._root_path,
            workers=self._workers,
        )

    def _other_s3(self, data_dir: DataDir) -> S3Settings | None:
        if not self._s3:
            return None
        self._bucket = self._s3.make_bucket()
        return S3Settings(
            endpoint=self._s3.endpoint,
            bucket=self._bucket,
            access_key_file=data_dir.keep_secret("s3-access-key", self._s3.access_key),
            secret_key_file=data_dir.keep_secret("s3-secret-key", self._s3.secret_key),
        )


def free_ports() -> int:
    """Return the first of four free ports in a row, which the platform takes.

    They are not among those that `ports.choose` gives, and claimed as those are: so nobody, such as the object store of
    the same platform or another platform that starts meanwhile, takes one between this look and the platform's start.
    """
    for port in random.SystemRandom().sample(_BASES, len(_BASES)):
        if all(ports.is_free(Address(LOOPBACK, port + offset)) for offset in range(4)) and ports.claim(port):
            return port
    raise AssertionError("no four free ports in a row")


def is_ready_at(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service="readiness"), timeout=2)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
