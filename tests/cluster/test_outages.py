"""What the platform stands on breaks under load: a replica hangs (R6), Postgres restarts (R7) or loses connections
(R8), networks part (R34). Errors are few or typed, and all of it heals.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from services.local import waiting
from tests.cluster import stored
from tests.cluster.cluster import BACKENDS, KEY, Cluster, Replica, together
from tests.cluster.load import DEADLINE_S, Load, Report
from tests.faults.proxy import Proxy
from tests.long_form import IS_LONG, TEST_TIMEOUT_S

RATE = 200.0 if IS_LONG else 25.0
HUNG_S = 30.0 if IS_LONG else 10.0
RESTARTS = 10 if IS_LONG else 1
LOST_S = 60.0 if IS_LONG else 6.0
PARTED_S = 15.0 if IS_LONG else 5.0
RECOVERY_S = 5.0
HEALED_S = 10.0
# Between whom, and what does not come through.
PARTITIONS = [
    (edge, lost)
    for edge in ("gateways and tracking", "tracking and Postgres")
    for lost in ("requests and answers", "requests", "answers")
]
# What a caller is told who may come again.
MAY_COME_AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "503 TEMPORARILY_UNAVAILABLE", "504 DEADLINE_EXCEEDED")
BUSY = ("RESOURCE_EXHAUSTED", "429 RESOURCE_EXHAUSTED")
TERMINATE = """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE usename = ANY(%s)
    ORDER BY random()
    LIMIT 1
"""
DEADLOCKS_MIN = 100 if IS_LONG else 4
# One statement in fifty that changes something is the victim of a deadlock. What a sequence has counted stays counted.
DEADLOCKS = """
    CREATE SEQUENCE public.deadlocks;
    CREATE FUNCTION public.deadlock() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            IF random() < 0.02 THEN
                PERFORM nextval('public.deadlocks');
                RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
            END IF;
            RETURN NULL;
        END
    $$;
"""
VICTIMS = ("runs", "metrics", "metric_chunks", "metric_points", "ingest_sessions", "experiment_tags", "run_tags")

pytestmark = [pytest.mark.alone, pytest.mark.timeout(TEST_TIMEOUT_S)]


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), proxies=True) as running:
        yield running


@pytest.fixture
def cluster(module_cluster: Cluster) -> Cluster:
    module_cluster.revive()
    return module_cluster


@pytest.mark.parametrize("service", ["tracking", "registry"] if IS_LONG else ["tracking"])
def test_hung_replica_is_routed_around(cluster: Cluster, service: str) -> None:
    kinds = ("rest read", "rest lookup", "rest write")
    hung = cluster.replicas[f"{service}-2"]
    try:
        with Load(cluster, rate=RATE, kinds=kinds) as load:
            hung.process.send(signal.SIGSTOP)
            time.sleep(HUNG_S)
    finally:
        # Only now: none of the calls can have waited for it.
        hung.process.send(signal.SIGCONT)

    load.report.tell(f"R6, a replica of {service} hung for {HUNG_S:.0f} s")
    assert load.report.late_count(DEADLINE_S) <= 0.001 * len(load.report.calls)
    stored.check(cluster, load.report)


def test_lost_connections_to_postgres_are_invisible(cluster: Cluster) -> None:
    with Load(cluster, rate=RATE) as load, psycopg.connect(cluster.database_url(), autocommit=True) as sql:
        lost, until = 0, time.monotonic() + LOST_S
        # Where the machine is slow, they are terminated more slowly, for longer.
        while time.monotonic() < until or lost < 3 * LOST_S:
            lost += len(sql.execute(TERMINATE, [list(BACKENDS)]).fetchall())
            time.sleep(0.2)

    load.report.tell(f"R8, {lost} connections terminated in {LOST_S:.0f} s")
    assert lost >= 3 * LOST_S
    assert not load.report.failures
    stored.check(cluster, load.report)


def test_deadlocks_are_invisible(cluster: Cluster) -> None:
    with psycopg.connect(cluster.database_url(), autocommit=True) as sql:
        sql.execute(DEADLOCKS)
        try:
            for table in VICTIMS:
                sql.execute(
                    f"CREATE TRIGGER deadlock AFTER INSERT OR UPDATE ON tracking.{table} "
                    "FOR EACH STATEMENT EXECUTE FUNCTION public.deadlock()"
                )
            with Load(cluster, rate=RATE) as load:
                assert waiting.until(lambda: _deadlocks(sql) >= DEADLOCKS_MIN, timeout_s=120)
            found = _deadlocks(sql)
        finally:
            sql.execute("DROP FUNCTION public.deadlock CASCADE; DROP SEQUENCE public.deadlocks")

    load.report.tell(f"R8, {found} deadlocks")
    assert not load.report.failures
    stored.check(cluster, load.report)


@pytest.mark.parametrize("way", ["fast", "immediate", "kill -9"] if IS_LONG else ["immediate"])
def test_restart_of_postgres_is_told_as_such_and_heals(cluster: Cluster, way: str) -> None:
    recovered_s = []
    with Load(cluster, rate=RATE) as load:
        for _ in range(RESTARTS):
            time.sleep(1)
            _end_postgres(cluster, way)
            time.sleep(1)
            cluster.postgres.start()
            recovered_s.append(_until_ok(cluster))

    load.report.tell(f"R7, {RESTARTS} {way} restarts of Postgres, recovered after {max(recovered_s):.1f} s")
    assert max(recovered_s) <= RECOVERY_S
    _check_typed(load.report, MAY_COME_AGAIN)
    stored.check(cluster, load.report)


@pytest.mark.parametrize(("edge", "lost"), PARTITIONS if IS_LONG else PARTITIONS[::5])
def test_partition_is_told_as_such_and_heals(cluster: Cluster, edge: str, lost: str) -> None:
    with Load(cluster, rate=RATE) as load:
        time.sleep(1)
        for proxy in _proxies(cluster, edge):
            proxy.part(requests=lost != "answers", answers=lost != "requests")
        time.sleep(PARTED_S)
        for proxy in _proxies(cluster, edge):
            proxy.heal()
        healed_s = _until_ok(cluster)

    load.report.tell(f"R34, {edge} parted for {PARTED_S:.0f} s, {lost} held, healed after {healed_s:.1f} s")
    assert healed_s <= HEALED_S
    _check_typed(load.report, (*MAY_COME_AGAIN, *BUSY))
    stored.check(cluster, load.report)


def _deadlocks(sql: psycopg.Connection[Any]) -> int:
    row = sql.execute("SELECT last_value FROM public.deadlocks").fetchone()
    assert row
    return int(row[0])


def _end_postgres(cluster: Cluster, way: str) -> None:
    if way == "kill -9":
        cluster.postgres.kill()
        return
    cluster.postgres.end(signal.SIGINT if way == "fast" else signal.SIGQUIT)


def _proxies(cluster: Cluster, edge: str) -> list[Proxy]:
    if edge == "gateways and tracking":
        return cluster.tracking_proxies
    assert cluster.database_proxy
    return [cluster.database_proxy]


def _until_ok(cluster: Cluster) -> float:
    """Return after how long every gateway writes again, three times in a row."""
    began = time.monotonic()
    together(_until_it_writes, cluster.of("gateway"))
    return time.monotonic() - began


def _until_it_writes(replica: Replica) -> None:
    url = f"http://{replica.address}"
    assert waiting.until(lambda: all(_works(url) for _ in range(3)), timeout_s=60)


def _works(url: str) -> bool:
    headers = {"authorization": f"Bearer {KEY}"}
    with contextlib.suppress(httpx.TransportError):
        made = httpx.post(
            f"{url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, headers=headers, timeout=DEADLINE_S
        )
        return made.status_code == 200
    return False


def _check_typed(report: Report, allowed: tuple[str, ...]) -> None:
    """Fail if a call ended with anything else, or was told to come again without when."""
    other = {failure: count for failure, count in report.failures.items() if not failure[1].startswith(allowed)}
    assert not other
    untold = [call for call in report.calls if call[3].startswith("UNAVAILABLE TEMPORARILY") and not call[4]]
    assert not untold
    assert not [call for call in report.calls if call[3].startswith("503") and not call[4]]
