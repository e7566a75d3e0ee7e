"""A platform whose services are of two releases for a while, over one Postgres and one S3 server."""

import base64
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.common.settings import Address
from services.local import ports, waiting
from services.local.postgres import EmbeddedPostgres
from services.local.process import LAUNCHED_FOR, Child, Process
from tests import patient
from tests.s3 import EmbeddedS3
from tests.stack import is_ready_at
from tests.upgrades import schemas
from tests.upgrades.releases import Release, Releases
from tests.upgrades.switch import Switch

BACKENDS = tuple(schemas.MIGRATIONS)
SERVICES = (*BACKENDS, "gateway")
TIMEOUT_S = 120
_HOST = "127.0.0.1"
_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@dataclass(frozen=True)
class Replica:
    """A process of a service, and whose code it runs."""

    service: str
    release: Release
    address: Address
    process: Process

    @property
    def has_notice(self) -> bool:
        """Whether it goes on for a while when it is told to stop, and its callers look elsewhere. HTTP has no such."""
        return self.service != "gateway" and self.release.says_that_it_stops

    def is_ready(self) -> bool:
        if self.service == "gateway":
            return ports.answers_ok(self.address, "/health")
        return is_ready_at(str(self.address))


class Platform:
    """Starts Postgres and S3; services when they are told to. Callers find each service behind its switch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._replicas: list[Replica] = []

    def __enter__(self) -> Self:
        with self._stack as stack:
            self.postgres = stack.enter_context(EmbeddedPostgres(self._folder / "database"))
            self._s3 = stack.enter_context(EmbeddedS3(self._folder / "objects")).s3
            self._switches = {service: stack.enter_context(Switch()) for service in SERVICES}
            stack.callback(self._end_all)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where REST is spoken."""
        return f"http://{self._switches['gateway'].address}"

    def address(self, service: str) -> str:
        """Where a service is found."""
        return str(self._switches[service].address)

    def migrate(self, releases: Releases) -> float:
        """Run the migrations of a release, all services' at once. Returns for how many seconds."""
        began = time.monotonic()
        runners = [self._process(service, releases, Address(_HOST, 1), "migrate") for service in BACKENDS]
        for runner in runners:
            waiting.until(lambda runner=runner: runner.ended, timeout_s=TIMEOUT_S)
            assert runner.exit_code == 0, runner.last_lines()
        return time.monotonic() - began

    def start(self, releases: Releases, *services: str) -> None:
        """Start services of a release, wait until they are ready, and let new connections come to them."""
        started = []
        for service in services:
            address = Address(_HOST, ports.choose(_HOST))
            started.append(Replica(service, releases[service], address, self._process(service, releases, address)))
            self._replicas.append(started[-1])
        for replica in started:
            is_ready = waiting.until(
                lambda replica=replica: replica.process.ended or replica.is_ready(),
                timeout_s=TIMEOUT_S,
            )
            told = f"{replica.service}, {replica.release.name}:\n{replica.process.last_lines()}"
            assert is_ready, told
            assert not replica.process.ended, told
            switch = self._switches[replica.service]
            switch.replicas = (*switch.replicas, replica.address)

    def leave(self, releases: Releases, *services: str) -> list[Replica]:
        """Let no new connections come to services of a release; those that are there go on."""
        left = [r for r in self._replicas if r.service in services and r.release == releases[r.service]]
        for replica in left:
            switch = self._switches[replica.service]
            switch.replicas = tuple(address for address in switch.replicas if address != replica.address)
        return left

    def stop(self, releases: Releases, *services: str) -> None:
        """Let services of a release end as a rolling update does: nothing new comes, then they are told to stop.

        Those that do not tell callers that they stop are told once nobody is connected any more.
        """
        left = self.leave(releases, *services)
        for replica in left:
            switch = self._switches[replica.service]
            if not replica.has_notice:
                assert waiting.until(
                    lambda switch=switch, replica=replica: switch.connections(replica.address) == 0,
                    timeout_s=TIMEOUT_S,
                ), f"{replica.service} still has {switch.connections(replica.address)} connections"
            replica.process.send(signal.SIGTERM)
        for replica in left:
            waiting.until(lambda replica=replica: replica.process.ended, timeout_s=TIMEOUT_S)
            assert replica.process.exit_code == 0, f"{replica.service}:\n{replica.process.last_lines()}"
            self._replicas.remove(replica)

    def _end_all(self) -> None:
        for replica in self._replicas:
            replica.process.kill()

    def _process(self, service: str, releases: Releases, listen: Address, *arguments: str) -> Process:
        return Process(self._child(service, releases[service], listen, *arguments))

    def _child(self, service: str, release: Release, listen: Address, *arguments: str) -> Child:
        name = "-".join((service, release.name.replace(" ", "-"), *arguments))
        return Child(
            name=name,
            # What is judged is that no call fails, not how soon a busy machine answers.
            argv=patient.command([sys.executable, "-P", "-m", f"services.{service}", *arguments]),
            env={
                **os.environ,
                "PYTHONPATH": release.python_path,
                "MODELSTEAD_LISTEN": str(listen),
                "MODELSTEAD_TRACKING_ADDRESS": self.address("tracking"),
                "MODELSTEAD_ARTIFACTS_ADDRESS": self.address("artifacts"),
                "MODELSTEAD_REGISTRY_ADDRESS": self.address("registry"),
                "MODELSTEAD_DATABASE_URL": self.postgres.url(service) if service in BACKENDS else "",
                "MODELSTEAD_PAGE_TOKEN_KEY": "k" * 32,
                "MODELSTEAD_SESSION_KEYS": _KEY,
                "MODELSTEAD_WEBHOOK_SECRET_KEYS": _KEY,
                "MODELSTEAD_S3_ENDPOINT": self._s3.endpoint,
                "MODELSTEAD_S3_ACCESS_KEY": self._s3.access_key,
                "MODELSTEAD_S3_SECRET_KEY": self._s3.secret_key,
                "MODELSTEAD_UI": "false",
                "MODELSTEAD_LOG_FORMAT": "text",
                "MODELSTEAD_DRAIN_NOTICE_S": "3" if service in BACKENDS and release.says_that_it_stops else "0",
                LAUNCHED_FOR: str(self._folder),
            },
            log=self._folder / f"{name}.log",
            stop_timeout_s=60,
        )
