"""Callers that never try again: what they do, what was acknowledged to them, and whether it is there."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import psycopg

from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc
from services.common.rpc import peers
from services.local import waiting
from tests import ingest
from tests.upgrades.platform import TIMEOUT_S, Platform

_API = "/api/2.0/mlflow"
_FILES = "/api/2.0/mlflow-artifacts/artifacts"
# Each calls this often at most: what is looked for is what fails, not what is slow.
_PAUSE_S = 0.1
_POINTS = 10
_CALLS_A_CONNECTION = 20
_STORED_POINTS = """
    SELECT sum(chunks.point_count) + max(metrics.pending_count)
    FROM tracking.metrics
    LEFT JOIN tracking.metric_chunks AS chunks USING (metric_id)
    WHERE run_id = %s
"""


class Caller(threading.Thread):
    """Calls until it is told to stop. REST is spoken over a new connection each time, to meet every replica."""

    kind = ""

    def __init__(self, platform: Platform) -> None:
        super().__init__(daemon=True)
        self.platform = platform
        self.failures: list[str] = []
        self.durations_s: list[float] = []
        self._stopping = threading.Event()

    def run(self) -> None:
        turns = self.turns()
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                next(turns)
            except (httpx.HTTPError, grpc.RpcError, AssertionError) as error:
                self.failures.append(f"{self.kind} call {len(self.durations_s)}: {error!r}")
                return
            self.durations_s.append(time.monotonic() - began)
            self._stopping.wait(_PAUSE_S)

    def finish(self) -> None:
        self._stopping.set()
        self.join()

    def turns(self) -> Iterator[None]:
        """Make one call a turn."""
        raise NotImplementedError

    def check(self) -> None:
        """Fail if something that was acknowledged is not there, or is there twice."""
        raise NotImplementedError

    def rest(self, method: str, path: str, **request: Any) -> httpx.Response:
        answer = httpx.request(method, f"{self.platform.url}{path}", timeout=TIMEOUT_S, **request)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer

    def post(self, path: str, **body: Any) -> Any:
        return self.rest("POST", f"{_API}/{path}", json=body).json()

    def get(self, path: str, **query: Any) -> Any:
        return self.rest("GET", f"{_API}/{path}", params=query).json()


class Runs(Caller):
    """Logs metrics and params to a run over REST, and reads it."""

    kind = "run"

    def turns(self) -> Iterator[None]:
        self.run_id = self.post("runs/create", experiment_id="0")["run"]["info"]["run_id"]
        self.steps = self.params = 0
        while True:
            for _ in range(4):
                point = {"key": "m", "value": self.steps, "timestamp": self.steps, "step": self.steps}
                self.post("runs/log-metric", run_id=self.run_id, **point)
                self.steps += 1
                yield
            self.post("runs/log-parameter", run_id=self.run_id, key=f"p{self.params}", value="v")
            self.params += 1
            yield
            data = self.get("runs/get", run_id=self.run_id)["run"]["data"]
            assert len(data["params"]) == self.params
            assert data["metrics"][0]["step"] == self.steps - 1
            yield

    def check(self) -> None:
        history = self.get("metrics/get-history", run_id=self.run_id, metric_key="m", max_results=25_000)["metrics"]
        assert [point["step"] for point in history] == list(range(self.steps))
        params = self.get("runs/get", run_id=self.run_id)["run"]["data"]["params"]
        assert {param["key"] for param in params} == {f"p{number}" for number in range(self.params)}


class Batches(Caller):
    """Sends numbered batches of points by gRPC, and takes another connection now and then."""

    kind = "batch"

    def turns(self) -> Iterator[None]:
        self.run_id, session = ingest.new_id(), ingest.session()
        self.sequence = 0
        while True:
            options = [
                ("grpc.enable_retries", 0),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.service_config", peers.SERVICE_CONFIG),
            ]
            with grpc.insecure_channel(self.platform.address("tracking"), options=options) as channel:
                stub = ingest_pb2_grpc.IngestServiceStub(channel)
                for _ in range(_CALLS_A_CONNECTION):
                    rows = ingest.series("m", self.sequence * _POINTS, _POINTS)
                    start = {"start": pb.StartRun(start_time=1)} if self.sequence == 0 else {}
                    batch = ingest.batch(self.sequence + 1, self.run_id, rows, **start)
                    stub.IngestBatch(pb.IngestBatchRequest(session=session, batch=batch), timeout=TIMEOUT_S)
                    self.sequence += 1
                    yield

    def check(self) -> None:
        with psycopg.connect(self.platform.postgres.url()) as connection:
            row = connection.execute(_STORED_POINTS, [self.run_id]).fetchone()
        assert row == (self.sequence * _POINTS,)


class Versions(Caller):
    """Creates versions of a model, and moves an alias and tags with them."""

    kind = "version"

    def turns(self) -> Iterator[None]:
        self.name = uuid.uuid4().hex
        self.post("registered-models/create", name=self.name)
        self.versions: list[str] = []
        while True:
            created = self.post("model-versions/create", name=self.name, source=f"s3://bucket/{len(self.versions)}")
            version = created["model_version"]["version"]
            self.versions.append(version)
            yield
            self.post("registered-models/alias", name=self.name, alias="champion", version=version)
            yield
            self.post("model-versions/set-tag", name=self.name, version=version, key="k", value=version)
            yield
            found = self.get("registered-models/alias", name=self.name, alias="champion")["model_version"]
            assert found["version"] == version
            yield

    def check(self) -> None:
        assert self.versions == [str(number + 1) for number in range(len(self.versions))]
        for version in self.versions[:-1]:
            found = self.get("model-versions/get", name=self.name, version=version)["model_version"]
            assert found["tags"] == [{"key": "k", "value": version}]
        assert self.get("model-versions/get", name=self.name, version=self.versions[-1])


class Files(Caller):
    """Uploads artifacts and downloads them."""

    kind = "file"

    def turns(self) -> Iterator[None]:
        self.folder = uuid.uuid4().hex
        self.count = 0
        while True:
            path = f"{_FILES}/{self.folder}/{self.count}"
            self.rest("PUT", path, content=self._content(self.count))
            self.count += 1
            yield
            assert self.rest("GET", path).content == self._content(self.count - 1)
            yield

    def check(self) -> None:
        for number in range(self.count):
            assert self.rest("GET", f"{_FILES}/{self.folder}/{number}").content == self._content(number)

    def _content(self, number: int) -> bytes:
        return f"{self.folder} {number}".encode() * 100


KINDS: tuple[Callable[[Platform], Caller], ...] = (Runs, Runs, Batches, Batches, Versions, Files)


class Load:
    """All kinds of callers at once, for the length of a block."""

    def __init__(self, platform: Platform) -> None:
        self._callers = [kind(platform) for kind in KINDS]
        self._began = time.monotonic()

    def __enter__(self) -> "Load":
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.finish()
        self._seconds = time.monotonic() - self._began

    def go_on(self, calls: int) -> None:
        """Wait until every caller has made so many calls more, or one has failed."""
        goals = [len(caller.durations_s) + calls for caller in self._callers]
        assert waiting.until(
            lambda: (
                bool(self.failures())
                or all(len(caller.durations_s) >= goal for caller, goal in zip(self._callers, goals, strict=True))
            ),
            timeout_s=TIMEOUT_S + calls,
        ), "callers made no progress"

    def failures(self) -> list[str]:
        return [failure for caller in self._callers for failure in caller.failures]

    def check(self) -> None:
        """Fail if something that was acknowledged is not there."""
        for caller in self._callers:
            caller.check()

    def report(self) -> str:
        """Say how much it was and how long a call took."""
        durations = sorted(duration for caller in self._callers for duration in caller.durations_s)
        counts = Counter[str]()
        for caller in self._callers:
            counts[caller.kind] += len(caller.durations_s)
        return (
            f"{len(durations)} calls in {self._seconds:.0f} s, {len(durations) / self._seconds:.0f}/s, {dict(counts)}; "
            f"{len(self.failures())} failed; p50 {durations[len(durations) // 2] * 1000:.0f} ms, "
            f"p99 {durations[len(durations) * 99 // 100] * 1000:.0f} ms, max {durations[-1] * 1000:.0f} ms"
        )
