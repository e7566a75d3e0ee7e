"""Three replicas of each service as processes on addresses of loopback, behind names that change, over one Postgres and
one S3 server: what Kubernetes makes of `deploy/k8s`, without it.
"""

import contextlib
import hashlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from services.common.settings import Address
from services.gateway.pages import READY_PATH
from services.local import ports, waiting
from services.local.data_dir import DataDir
from services.local.object_store import ObjectStore
from services.local.plan import Plan, UpSettings
from services.local.postgres import EmbeddedPostgres
from services.local.process import Child, Process
from tests.cluster.names import Names
from tests.faults.proxy import Proxy
from tests.stack import is_ready_at

T = TypeVar("T")

BACKENDS = ("tracking", "artifacts", "registry")
SERVICES = (*BACKENDS, "gateway")
KEY = "cluster-key"
READY_TIMEOUT_S = 120.0
# As deploy/k8s has it: how long a replica that was told to stop goes on.
NOTICE_S = 5.0
STOP_TIMEOUT_S = 60.0
# Nine processes may have a pool each, one of them a large one.
_DATABASE_CONNECTIONS = 200
# Where the gateways look for tracking, if there are proxies between them.
_FAR_TRACKING = "far-tracking"


@dataclass(kw_only=True)
class Replica:
    """A place for a process of a service, which may be started in it again and again."""

    service: str
    number: int
    address: Address
    metrics: Address
    child: Child
    process: Process
    is_leaving: bool = False

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"

    def is_ready(self) -> bool:
        if self.service == "gateway":
            return ports.answers_ok(self.address, READY_PATH)
        return is_ready_at(str(self.address))

    def calls(self) -> Counter[str]:
        """Return how many calls this process has answered, by method; none of what only looks whether it is there."""
        found = Counter[str]()
        for sample in self._samples("modelstead_calls_total"):
            if READY_PATH not in sample.labels["method"]:
                found[sample.labels["method"]] += int(sample.value)
        return found

    def calls_in_flight(self) -> int:
        """Return how many calls this process answers just now, but for watches and streams."""
        return int(sum(sample.value for sample in self._samples("modelstead_calls_in_flight")))

    def _samples(self, name: str) -> list[Sample]:
        text = httpx.get(f"http://{self.metrics}/metrics", timeout=30).text
        families = text_string_to_metric_families(text)
        return [sample for family in families for sample in family.samples if sample.name == name]


class Cluster:
    """The platform, with so many replicas of each service; they are told apart by their numbers, from 1.

    With `proxies` the gateways reach each replica of tracking, and these reach Postgres, by a proxy that can cut.
    """

    def __init__(
        self, path: Path, *, replicas: int = 3, proxies: bool = False, variables: Mapping[str, str] | None = None
    ) -> None:
        self.postgres = EmbeddedPostgres(path / "database", connections_max=_DATABASE_CONNECTIONS)
        self.names = Names()
        self.replicas: dict[str, Replica] = {}
        self.tracking_proxies: list[Proxy] = []
        self.database_proxy: Proxy | None = None
        self._path = path
        self._count = replicas
        self._has_proxies = proxies
        self._variables = dict(variables or {})
        self._ports: dict[str, int] = {}
        self._children: dict[str, Child] = {}
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._enter()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def target(self, service: str) -> str:
        """Return under what gRPC finds a service."""
        return self.names.target(service, self._ports[service])

    def port(self, service: str) -> int:
        """Return the port on which all replicas of a service listen."""
        return self._ports[service]

    def of(self, service: str) -> list[Replica]:
        """Return the replicas of a service that run."""
        # Others may be removed by other threads meanwhile.
        return [replica for replica in list(self.replicas.values()) if replica.service == service]

    def scale(self, count: int) -> None:
        """Start or stop replicas of every service, those with the highest numbers first, until there are so many."""
        present = {service: len(self.of(service)) for service in SERVICES}
        starting = [self._place(each, number) for each in SERVICES for number in range(present[each] + 1, count + 1)]
        self.wait_until_ready(starting)
        together(self.remove, [replica for replica in self.replicas.values() if replica.number > count])

    def remove(self, replica: Replica) -> None:
        """End a replica for good, as Kubernetes does."""
        self.stop(replica)
        del self.replicas[replica.name]

    def restart(self, replicas: Sequence[Replica]) -> None:
        """Stop replicas at the same time, as Kubernetes does, and start each anew in its place."""
        together(self.stop, replicas)
        self.start(replicas)

    def stop(self, replica: Replica) -> None:
        """Take a replica out of DNS, tell it to stop, and wait until it is gone. Fails if it does not end well."""
        replica.is_leaving = True
        self._tell(replica.service)
        replica.process.send(signal.SIGTERM)
        assert waiting.until(lambda: replica.process.ended, timeout_s=STOP_TIMEOUT_S), replica.name
        assert replica.process.exit_code == 0, f"{replica.name}:\n{replica.process.last_lines()}"

    def start(self, replicas: Iterable[Replica]) -> None:
        """Start replicas that have ended, and tell where they are once they are ready."""
        # By this thread, as processes end with the one that has started them.
        for replica in (started := list(replicas)):
            replica.process = Process(replica.child)
            replica.is_leaving = False
        self.wait_until_ready(started)

    def revive(self) -> None:
        """Start what has ended, as a test that has failed may leave it, and wait until all are ready."""
        self.start([replica for replica in self.replicas.values() if replica.process.ended])
        self.wait_until_ready()

    def wait_until_ready(self, replicas: Iterable[Replica] | None = None) -> None:
        """Wait until replicas are ready, all of them by default, and tell DNS."""
        awaited = list(self.replicas.values()) if replicas is None else list(replicas)
        for replica in awaited:
            done = waiting.until(
                lambda replica=replica: replica.process.ended or replica.is_ready(),  # type: ignore[misc]
                timeout_s=READY_TIMEOUT_S,
            )
            assert done, f"{replica.name}:\n{replica.process.last_lines()}"
            assert not replica.process.ended, f"{replica.name}:\n{replica.process.last_lines()}"
        for service in {replica.service for replica in awaited}:
            self._tell(service)

    def database_url(self, role: str = "postgres") -> str:
        """Return where Postgres itself is, without a proxy."""
        return self.postgres.url(role)

    def _enter(self) -> None:
        self._opened.enter_context(self.names)
        self.postgres.start()
        self._opened.callback(self.postgres.stop)
        self._opened.callback(lambda: together(_end, self.replicas.values()))
        plan = self._plan()
        migrating = [Process(child) for child in plan.migrations()]
        for process in migrating:
            assert waiting.until(lambda process=process: process.ended, timeout_s=READY_TIMEOUT_S)  # type: ignore[misc]
            assert process.exit_code == 0, process.last_lines()
        self._children = {child.name: child for child in plan.children()}
        self._ports = {service: self._free_port() for service in SERVICES}
        self._start_proxies()
        for service in SERVICES:
            for number in range(1, self._count + 1):
                self._place(service, number)
            self._tell(service)
        self.wait_until_ready()

    def _plan(self) -> Plan:
        data_dir = DataDir(self._path / "platform")
        self._opened.callback(data_dir.close)
        tokens = data_dir.keep_secret("tokens", f"load:admins:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
        store = ObjectStore(data_dir)
        settings = UpSettings(data_dir=data_dir.path, auth="tokens", tokens_file=tokens)
        process = Process(_prepared(store.child()))
        self._opened.callback(process.stop)
        assert waiting.until(store.is_ready, timeout_s=READY_TIMEOUT_S), process.last_lines()
        return Plan(
            settings=settings, data_dir=data_dir, cluster=self.postgres.cluster, object_store=store, environ=os.environ
        )

    def _start_proxies(self) -> None:
        if not self._has_proxies:
            return
        self.database_proxy = self._opened.enter_context(Proxy(str(self.postgres.address)))
        port = self._ports["tracking"]
        for number in range(1, self._count + 1):
            proxy = Proxy(str(_address("tracking", number, port)), listen=(f"127.0.2.{number}", port))
            self.tracking_proxies.append(self._opened.enter_context(proxy))
        self.names.tell(_FAR_TRACKING, [f"127.0.2.{number}" for number in range(1, self._count + 1)])

    def _place(self, service: str, number: int) -> Replica:
        """Make a place and start a process in it."""
        address = _address(service, number, self._ports[service])
        metrics = Address(address.host, ports.choose(address.host))
        child = self._child(service, number, address, metrics)
        replica = Replica(
            service=service, number=number, address=address, metrics=metrics, child=child, process=Process(child)
        )
        self.replicas[replica.name] = replica
        return replica

    def _child(self, service: str, number: int, address: Address, metrics: Address) -> Child:
        model = self._children[service]
        tracking = _FAR_TRACKING if self._has_proxies and service == "gateway" else "tracking"
        env = {
            **model.env,
            "MODELSTEAD_LISTEN": str(address),
            "MODELSTEAD_METRICS_LISTEN": str(metrics),
            "MODELSTEAD_TRACKING_ADDRESS": self.names.target(tracking, self._ports["tracking"]),
            "MODELSTEAD_ARTIFACTS_ADDRESS": self.target("artifacts"),
            "MODELSTEAD_REGISTRY_ADDRESS": self.target("registry"),
            "MODELSTEAD_MIGRATE_ON_START": "false",
            "GRPC_DNS_RESOLVER": "ares",
            "MODELSTEAD_DRAIN_NOTICE_S": str(NOTICE_S),
            "MODELSTEAD_LOG_LEVEL": "warning",
            **self._variables,
        }
        if self.database_proxy and service == "tracking":
            direct = self.postgres.url(service)
            env["MODELSTEAD_DATABASE_URL"] = direct.replace(str(self.postgres.address), self.database_proxy.address)
        name = f"{service}-{number}"
        return Child(name=name, argv=model.argv, env=env, log=model.log.with_name(f"{name}.log"))

    def _tell(self, service: str) -> None:
        told = [replica for replica in self.of(service) if not replica.is_leaving]
        self.names.tell(service, [replica.address.host for replica in told])

    def _free_port(self) -> int:
        while True:
            port = ports.choose("127.0.1.11")
            places = [_address(service, number, port) for service in SERVICES for number in range(1, self._count + 3)]
            if port not in self._ports.values() and all(ports.is_free(place) for place in places):
                return port


def together(action: Callable[[Replica], T], replicas: Iterable[Replica]) -> list[T]:
    """Do something with all replicas at once and return what came of it; raises what any of them raises."""
    chosen = list(replicas)
    with ThreadPoolExecutor(max(len(chosen), 1)) as threads:
        return list(threads.map(action, chosen))


def _address(service: str, number: int, port: int) -> Address:
    """Return where a replica is: each has an address of its own, as a pod has."""
    return Address(f"127.0.1.{10 * (1 + SERVICES.index(service)) + number}", port)


def _prepared(child: Child) -> Child:
    if child.prepare:
        child.prepare()
    return child


def _end(replica: Replica) -> None:
    replica.process.send(signal.SIGCONT)
    replica.process.kill()
