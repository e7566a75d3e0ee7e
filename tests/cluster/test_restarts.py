"""Replicas come and go under load, and nobody who calls notices: rolling restarts (R4), drains (R5), scaling."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psycopg
import pytest

from modelstead.registry.v1 import (
    lookups_pb2,
    lookups_pb2_grpc,
    model_versions_pb2,
    model_versions_pb2_grpc,
    registered_models_pb2,
    registered_models_pb2_grpc,
)
from modelstead.runs.connection import Endpoint, channel
from modelstead.runs.settings import Settings
from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc
from services.local import ports, waiting
from tests import ingest
from tests.cluster import stored
from tests.cluster.cluster import KEY, SERVICES, Cluster, Replica, together
from tests.cluster.load import Load, Report
from tests.long_form import IS_LONG, TEST_TIMEOUT_S

RATE = 200.0 if IS_LONG else 25.0
ROUNDS = 5 if IS_LONG else 1
STREAMS = 20
CALLS, CALLS_AT_ONCE = 50, 10
# For what a replica does besides.
SPARE_CONNECTIONS = 8
WAIT_S = 60.0
EXIT_S = 30.0
# Of each replica, on average, and how far from that one may be.
CALLS_COUNTED = 500 if IS_LONG else 50
UNEVEN_MAX = 0.1
AGE_S = 5.0
WAITING_FOR_LOCKS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'registry' AND wait_event_type = 'Lock'"
METADATA = (("authorization", f"Bearer {KEY}"),)

pytestmark = [pytest.mark.alone, pytest.mark.timeout(TEST_TIMEOUT_S)]


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose clients look every few seconds who is there, instead of minutes."""
    variables = {"MODELSTEAD_CONNECTION_AGE_S": str(AGE_S)}
    with Cluster(tmp_path_factory.mktemp("cluster"), variables=variables) as running:
        yield running


@pytest.fixture
def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.revive()
    return module_cluster


def test_rolling_restart_fails_no_call(cluster: Cluster) -> None:
    with Load(cluster, rate=RATE) as load:
        for _ in range(ROUNDS):
            for number in (1, 2, 3):
                cluster.restart([cluster.replicas[f"{service}-{number}"] for service in SERVICES])

    load.report.tell(f"R4, {ROUNDS} rolling restarts of every service")
    assert not load.report.failures
    stored.check(cluster, load.report)


class Stream(threading.Thread):
    """An ingest stream that brings one batch after the other, on another stream when one ends, until told to finish."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.run_id = ingest.new_id()
        self.acknowledged = 0
        self.codes: set[grpc.StatusCode] = set()
        self._target = cluster.target("tracking")
        self._session = ingest.session()
        self._finishing = threading.Event()

    def finish(self) -> None:
        self._finishing.set()

    def run(self) -> None:
        settings = Settings(address=self._target, token=KEY)
        with channel(Endpoint(self._target, is_tls=False), settings) as to:
            stub = ingest_pb2_grpc.IngestServiceStub(to)
            while not self._finishing.is_set():
                try:
                    self._follow(stub)
                except grpc.RpcError as error:
                    self.codes.add(error.code())

    def _follow(self, stub: ingest_pb2_grpc.IngestServiceStub) -> None:
        told = threading.Semaphore(0)
        call = stub.IngestStream(self._requests(told), metadata=METADATA, wait_for_ready=True, timeout=300)
        try:
            for answer in call:
                self.acknowledged = max(self.acknowledged, answer.acknowledged_sequence)
                told.release()
        finally:
            told.release()

    def _requests(self, told: threading.Semaphore) -> Iterator[pb.IngestStreamRequest]:
        yield ingest.opening(self._session, acknowledged=self.acknowledged)
        told.acquire()
        while not self._finishing.wait(0.05):
            number = self.acknowledged + 1
            start = pb.StartRun(start_time=1) if number == 1 else None
            rows = ingest.series("m", stored.POINTS * (number - 1), stored.POINTS)
            yield ingest.bringing(ingest.batch(number, self.run_id, rows, start=start))
            while self.acknowledged < number:
                if not told.acquire(timeout=WAIT_S):
                    return


def test_sigterm_drains_calls_and_streams(cluster: Cluster) -> None:
    streams = [Stream(cluster) for _ in range(STREAMS)]
    for stream in streams:
        stream.start()
    assert waiting.until(lambda: all(stream.acknowledged for stream in streams), timeout_s=WAIT_S)
    stopping = [*cluster.of("tracking")[:2], cluster.replicas["registry-1"]]
    with (
        Load(cluster, rate=10 * RATE if IS_LONG else RATE, kinds=("grpc write", "grpc batch")) as load,
        _watch(stopping[-1]) as watch,
    ):
        began = time.monotonic()
        together(cluster.stop, stopping)
        took_s = time.monotonic() - began
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        counts = [stream.acknowledged for stream in streams]
        moved = waiting.until(
            lambda: all(stream.acknowledged > count for stream, count in zip(streams, counts, strict=True)),
            timeout_s=WAIT_S,
        )
    for stream in streams:
        stream.finish()
    for stream in streams:
        stream.join(WAIT_S)
    cluster.start(stopping)

    load.report.tell(f"R5, two of three replicas of tracking ended {took_s:.1f} s after SIGTERM, {STREAMS} streams")
    assert moved, "a stream did not go on with the replica that is left"
    assert took_s < EXIT_S
    assert not load.report.failures
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert {code for stream in streams for code in stream.codes} <= {grpc.StatusCode.UNAVAILABLE}
    stored.check(cluster, load.report)
    stored.check(cluster, Report(batches={stream.run_id: stream.acknowledged for stream in streams}))


def test_sigterm_lets_calls_under_way_end(cluster: Cluster) -> None:
    replica = cluster.replicas["registry-1"]
    # What is under way is then what is waited for when connections are closed; and each call has its own to the
    # database, where it can wait for longer than for one of them.
    variables = {"MODELSTEAD_DRAIN_NOTICE_S": "0", "MODELSTEAD_DATABASE_CONNECTIONS": str(CALLS + SPARE_CONNECTIONS)}
    with (
        _started_with(cluster, replica, variables),
        grpc.insecure_channel(str(replica.address)) as to,
        psycopg.connect(cluster.database_url()) as holding,
        psycopg.connect(cluster.database_url(), autocommit=True) as looking,
        ThreadPoolExecutor(1) as stopping,
    ):
        models = registered_models_pb2_grpc.RegisteredModelServiceStub(to)
        models.CreateRegisteredModel(
            registered_models_pb2.CreateRegisteredModelRequest(name=(name := ingest.new_id())), metadata=METADATA
        )
        # None of them can have its number until this lets the model go.
        holding.execute("SELECT FROM registry.registered_models WHERE name = %s FOR UPDATE", (name,))
        request = model_versions_pb2.CreateModelVersionRequest(name=name, source="s3://bucket/model")
        versions = model_versions_pb2_grpc.ModelVersionServiceStub(to)
        calls = []
        # Not all at once, so that no connection to the database takes longer to make than it may.
        for count in range(CALLS_AT_ONCE, CALLS + 1, CALLS_AT_ONCE):
            calls += [
                versions.CreateModelVersion.future(request, metadata=METADATA, timeout=WAIT_S)  # type: ignore[attr-defined]
                for _ in range(CALLS_AT_ONCE)
            ]
            assert waiting.until(lambda count=count: _waiting_for_locks(looking) == count, timeout_s=WAIT_S)  # type: ignore[misc]
        assert replica.calls_in_flight() == CALLS
        stopped = stopping.submit(cluster.stop, replica)
        assert waiting.until(lambda: ports.is_free(replica.address), timeout_s=WAIT_S)
        began = time.monotonic()
        holding.rollback()

        numbers = sorted(int(call.result().model_version.version) for call in calls)

        stopped.result()
        assert time.monotonic() - began < EXIT_S
    assert numbers == list(range(1, CALLS + 1))


@contextlib.contextmanager
def _started_with(cluster: Cluster, replica: Replica, variables: dict[str, str]) -> Iterator[None]:
    """Have a replica run with variables of its own; then it is as it was, whether it has ended meanwhile or not."""
    usual = replica.child
    replica.child = dataclasses.replace(usual, env={**usual.env, **variables})
    cluster.restart([replica])
    try:
        yield
    finally:
        replica.child = usual
        if not replica.process.ended:
            cluster.stop(replica)
        cluster.start([replica])


def _waiting_for_locks(sql: psycopg.Connection[Any]) -> int:
    row = sql.execute(WAITING_FOR_LOCKS).fetchone()
    assert row
    return int(row[0])


@contextlib.contextmanager
def _watch(replica: Replica) -> Iterator[Iterator[lookups_pb2.WatchModelsResponse]]:
    """Open a watch of one replica, which has answered."""
    request = lookups_pb2.WatchModelsRequest(names=["none"])
    with grpc.insecure_channel(str(replica.address)) as to:
        stub = lookups_pb2_grpc.LookupServiceStub(to)
        watch = stub.WatchModels(request, metadata=METADATA, wait_for_ready=True, timeout=300)
        next(watch)
        yield watch


def test_replicas_share_the_load_after_scaling(cluster: Cluster) -> None:
    together(cluster.remove, [each for each in cluster.replicas.values() if each.number > 1])
    # Artifacts ask tracking who owns the files: so all four are called, and each service is found by another's channel.
    with Load(cluster, rate=RATE, kinds=("rest lookup", "rest files"), keep_alive=False) as load:
        spreads = {}
        for count in (1, 3, 2):
            cluster.scale(count)
            spreads[count] = _settled_spreads(cluster)
    cluster.scale(3)

    load.report.tell("Scaling 1, 3, 2")
    for count, by_service in spreads.items():
        print(f"  {count}: " + ", ".join(f"{service} ± {100 * spread:.1f} %" for service, spread in by_service.items()))
        assert all(spread <= UNEVEN_MAX for spread in by_service.values()), count
    assert not load.report.failures


def _settled_spreads(cluster: Cluster) -> dict[str, float]:
    """Return how far from its share a replica of each service is, once all callers have found all replicas.

    They do when their connections have reached their age: calls are counted anew until that shows, for a minute.
    """
    until = time.monotonic() + WAIT_S
    while True:
        spreads = {service: _spread(counts) for service, counts in _next_calls(cluster).items()}
        if max(spreads.values()) <= UNEVEN_MAX or time.monotonic() > until:
            return spreads


def _next_calls(cluster: Cluster) -> dict[str, list[int]]:
    """Return how many of the next calls each replica answers, until there are enough of each service."""
    before = _calls(cluster)

    def since() -> dict[str, list[int]]:
        now = _calls(cluster)
        return {service: [now[name] - before[name] for name in _names(cluster, service)] for service in SERVICES}

    def is_enough() -> bool:
        return all(sum(counts) >= CALLS_COUNTED * len(counts) for counts in since().values())

    assert waiting.until(is_enough, timeout_s=2 * WAIT_S, pause=lambda _: time.sleep(0.5))
    return since()


def _calls(cluster: Cluster) -> dict[str, int]:
    """Return how many calls each replica has answered, all asked at once: they go on meanwhile."""
    counts = together(lambda replica: replica.calls().total(), cluster.replicas.values())
    return dict(zip(cluster.replicas, counts, strict=True))


def _names(cluster: Cluster, service: str) -> list[str]:
    return [replica.name for replica in cluster.of(service)]


def _spread(counts: list[int]) -> float:
    share = sum(counts) / len(counts)
    return max(abs(count - share) for count in counts) / share
