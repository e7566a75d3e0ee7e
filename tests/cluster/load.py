"""`python -m tests.cluster.load OPTIONS`: a process that calls a cluster so many times a second, whatever becomes of
it, until its input ends; then it tells what became of each call.

Nothing is tried again: REST by connections that are spread over the gateways as kube-proxy does, gRPC by the channels
of our client.
"""

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver
import grpc
import httpcore
import uvloop

from modelstead.registry.v1 import lookups_pb2, lookups_pb2_grpc
from modelstead.resolver.channels import Connector
from modelstead.runs import connection
from modelstead.runs.connection import Endpoint
from modelstead.runs.settings import Settings
from modelstead.tracking.v1 import ingest_pb2, ingest_pb2_grpc, runs_pb2, runs_pb2_grpc
from tests import ingest
from tests.cluster.cluster import KEY, Cluster
from tests.cluster.names import DOMAIN

# What a caller waits for an answer, where a test does not say so.
DEADLINE_S = 5.0
_ON_THE_WAY_S = 0.5
# What is told too late is told all the same: how long it took is counted.
_PATIENCE_S = 10.0
READS = ("rest read", "rest lookup", "rest files", "grpc read", "grpc lookup")
WRITES = ("rest write", "grpc write", "grpc batch")
KINDS = (*READS, *WRITES)
POINTS = 10

_API = "/api/2.0/mlflow"
_OK = "OK"
_CONNECTIONS_MAX = 512


@dataclass(kw_only=True)
class Report:
    """What became of calls; times are of the monotonic clock, in seconds."""

    # Kind, when it was due, how long it took from then on, how it ended, and whether it said when to come back.
    calls: list[tuple[str, float, float, str, bool]] = field(default_factory=list)
    # What was acknowledged: runs that were created, and how many batches of each run that was logged to.
    runs: list[str] = field(default_factory=list)
    batches: dict[str, int] = field(default_factory=dict)

    @property
    def failures(self) -> Counter[tuple[str, str]]:
        """How many calls of each kind failed, and how."""
        return Counter((kind, code) for kind, _, _, code, _ in self.calls if code != _OK)

    def between(self, first_s: float, last_s: float = float("inf")) -> "Report":
        """Return what became of the calls that were due in a time; all that was acknowledged stays."""
        calls = [call for call in self.calls if first_s <= call[1] < last_s]
        return Report(calls=calls, runs=self.runs, batches=self.batches)

    def of(self, kinds: Iterable[str]) -> "Report":
        """Return what became of calls of some kinds."""
        return Report(calls=[call for call in self.calls if call[0] in kinds], runs=self.runs, batches=self.batches)

    def late_count(self, within_s: float) -> int:
        """How many calls failed, or took longer."""
        return sum(code != _OK or took > within_s for *_, took, code, _ in self.calls)

    def quantile_ms(self, share: float) -> float:
        """Return how long the given share of the calls that went well took at most."""
        ordered = sorted(took for *_, took, code, _ in self.calls if code == _OK) or [0.0]
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def tell(self, what: str) -> None:
        """Print the figures of a note."""
        span_s = max(call[1] for call in self.calls) - min(call[1] for call in self.calls)
        print(
            f"{what}: {len(self.calls)} calls at {len(self.calls) / max(span_s, 1):.0f}/s, "
            f"{self.failures.total()} failed, p50 {self.quantile_ms(0.5):.1f} ms, p99 {self.quantile_ms(0.99):.1f} ms"
        )
        for (kind, code), count in sorted(self.failures.items()):
            print(f"  {kind}: {count} {code}")


class Load:
    """A process that calls for as long as the block lasts; `report` is there afterwards."""

    def __init__(self, cluster: Cluster, *, rate: float, kinds: Iterable[str] = KINDS, keep_alive: bool = True) -> None:
        options = {
            "names": cluster.names.address,
            "gateway": cluster.port("gateway"),
            "tracking": cluster.target("tracking"),
            "registry": cluster.target("registry"),
            "rate": rate,
            "kinds": ",".join(kinds),
            "keep-alive": int(keep_alive),
        }
        self._command = [sys.executable, "-m", "tests.cluster.load"]
        self._command += [f"--{name}={value}" for name, value in options.items()]
        self.report = Report()

    def __enter__(self) -> "Load":
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        # It says so when it has what it calls about, and its connections.
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        out, _ = self._process.communicate()
        if kind is None:
            assert self._process.returncode == 0
            self.report = Report(**json.loads(out))


class _Spread(httpcore.AsyncNetworkBackend):
    """Connects to the replicas of a service in turn, as DNS has them now."""

    def __init__(self, server: str) -> None:
        host, _, port = server.partition(":")
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers, self._resolver.port = [host], int(port)
        self._resolver.cache = dns.resolver.Cache()
        self._resolver.lifetime = DEADLINE_S
        self._turn = itertools.count(random.randrange(100))
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        try:
            found = sorted(record.address for record in await self._resolver.resolve(host, "A"))
        except dns.exception.DNSException as error:
            raise httpcore.ConnectError("nobody is there") from error
        return await self._network.connect_tcp(found[next(self._turn) % len(found)], port, *rest, **options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Rest:
    """The gateways."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._url = f"http://gateway.{DOMAIN}:{options.gateway}"
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_CONNECTIONS_MAX,
            max_keepalive_connections=_CONNECTIONS_MAX if options.keep_alive else 0,
            network_backend=_Spread(options.names),
        )

    async def call(self, verb: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[str, bool]:
        """Return how a call ended, and whether it said when to come back."""
        content = None if body is None else json.dumps(body).encode()
        return _ending(await self.ask(verb, path, content, **headers))

    async def ask(self, verb: str, path: str, content: bytes | None, **headers: str) -> httpcore.Response:
        sent = {
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
            # So that a call of which nothing comes is told as such before nobody waits for it any more.
            "x-request-timeout-ms": str(int((DEADLINE_S - _ON_THE_WAY_S) * 1000)),
        } | headers
        limits = dict.fromkeys(("connect", "read", "write", "pool"), DEADLINE_S + _PATIENCE_S)
        return await self._pool.request(
            verb, self._url + path, headers=sent, content=content, extensions={"timeout": limits}
        )


def _ending(answer: httpcore.Response) -> tuple[str, bool]:
    if answer.status == 200:
        return _OK, False
    says_when = b"retry-after" in {name.lower() for name, _ in answer.headers}
    return f"{answer.status} {json.loads(answer.content).get('error_code')}", says_when


class _Calls:
    """One call of each kind; each returns how it ended, and whether it said when to come back."""

    def __init__(self, options: argparse.Namespace, report: Report) -> None:
        self._rest = _Rest(options)
        self._report = report
        settings = Settings(address=options.tracking, token=KEY)
        self._metadata = connection.metadata(settings)
        tracking = connection.channel(Endpoint(options.tracking, is_tls=False), settings)
        registry = Connector(options.registry, token=KEY, tls=False).channel()
        self._runs = runs_pb2_grpc.RunServiceStub(tracking)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(tracking)
        self._lookups = lookups_pb2_grpc.LookupServiceStub(registry)
        self._free = deque[_Session]()
        self._run_id = self._model = ""

    async def prepare(self) -> None:
        """Make what is read."""
        created = await self._rest.ask("POST", f"{_API}/runs/create", b'{"experiment_id": "0"}')
        self._run_id = json.loads(created.content)["run"]["info"]["run_id"]
        self._model = uuid.uuid4().hex
        for path, body in (
            ("registered-models/create", {"name": self._model}),
            ("model-versions/create", {"name": self._model, "source": "s3://bucket/model"}),
            ("registered-models/alias", {"name": self._model, "alias": "champion", "version": "1"}),
        ):
            assert await self._rest.call("POST", f"{_API}/{path}", body) == (_OK, False)

    async def call(self, kind: str) -> tuple[str, bool]:
        name = f"_{kind.replace(' ', '_')}"
        try:
            return await getattr(self, name)()  # type: ignore[no-any-return]
        except grpc.RpcError as error:
            failure = connection.failure(error)
            return f"{failure.code.name} {failure.reason}: {failure.message[:120]}", failure.retry_after_s is not None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return f"{type(error).__name__}: {error}", False

    async def _rest_read(self) -> tuple[str, bool]:
        return await self._rest.call("GET", f"{_API}/runs/get?run_id={self._run_id}")

    async def _rest_lookup(self) -> tuple[str, bool]:
        return await self._rest.call("GET", f"{_API}/registered-models/alias?name={self._model}&alias=champion")

    async def _rest_files(self) -> tuple[str, bool]:
        return await self._rest.call("GET", f"{_API}/artifacts/list?run_id={self._run_id}")

    async def _rest_write(self) -> tuple[str, bool]:
        headers = {"idempotency-key": uuid.uuid4().hex}
        answer = await self._rest.ask("POST", f"{_API}/runs/create", b'{"experiment_id": "0"}', **headers)
        if answer.status == 200:
            self._report.runs.append(json.loads(answer.content)["run"]["info"]["run_id"])
        return _ending(answer)

    async def _grpc_read(self) -> tuple[str, bool]:
        await self._answer(self._runs.GetRun, runs_pb2.GetRunRequest(run_id=self._run_id))
        return _OK, False

    async def _grpc_lookup(self) -> tuple[str, bool]:
        request = lookups_pb2.ResolveModelRequest(name=self._model, alias="champion", strict=True)
        await self._answer(self._lookups.ResolveModel, request)
        return _OK, False

    async def _grpc_write(self) -> tuple[str, bool]:
        request = runs_pb2.CreateRunRequest(experiment_id="0", request_id=uuid.uuid4().hex)
        created = await self._answer(self._runs.CreateRun, request)
        self._report.runs.append(created.run.info.run_id)
        return _OK, False

    async def _grpc_batch(self) -> tuple[str, bool]:
        session = self._free.popleft() if self._free else _Session()
        try:
            await self._answer(self._ingest.IngestBatch, session.request())
        finally:
            # One whose batch may be stored or not brings it again, under its number, at its next turn.
            self._free.append(session)
        session.count += 1
        self._report.batches[session.run_id] = session.count
        return _OK, False

    async def _answer(self, method: Any, request: Any) -> Any:
        loop = asyncio.get_running_loop()
        call = method.future(request, timeout=DEADLINE_S, metadata=self._metadata)
        done = loop.create_future()
        call.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set_result, None))
        await done
        return call.result()


class _Session:
    """A session that logs to a run of its own."""

    def __init__(self) -> None:
        self._session = ingest.session()
        self.run_id = ingest.new_id()
        self.count = 0

    def request(self) -> ingest_pb2.IngestBatchRequest:
        start = ingest_pb2.StartRun(start_time=1) if self.count == 0 else None
        rows = ingest.series("m", POINTS * self.count, POINTS)
        batch = ingest.batch(self.count + 1, self.run_id, rows, start=start)
        return ingest_pb2.IngestBatchRequest(session=self._session, batch=batch)


async def _main(options: argparse.Namespace) -> Report:
    report = Report()
    calls = _Calls(options, report)
    await calls.prepare()
    kinds = options.kinds.split(",")
    for kind in kinds:
        assert (await calls.call(kind))[0] == _OK
    report = calls._report = Report()
    print("ready", flush=True)
    is_over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with asyncio.TaskGroup() as tasks:
        due = time.monotonic()
        for kind in itertools.cycle(kinds):
            if is_over.done():
                break
            tasks.create_task(_note(report, kind, due, calls.call))
            due += 1 / options.rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
    return report


async def _note(report: Report, kind: str, due: float, call: Callable[[str], Awaitable[tuple[str, bool]]]) -> None:
    code, says_when = await call(kind)
    report.calls.append((kind, due, time.monotonic() - due, code, says_when))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("names", "tracking", "registry", "kinds"):
        parser.add_argument(f"--{name}")
    for name in ("gateway", "keep-alive"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--rate", type=float)
    return parser


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_main(_parser().parse_args())))))
