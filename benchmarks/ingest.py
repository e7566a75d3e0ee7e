"""What is measured of logging at high volume: over gRPC where a system speaks it, else by what it has instead."""

import asyncio
import contextlib
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import grpc.aio
import numpy as np
import orjson
import psycopg
from psycopg import sql

from benchmarks import calls, dataset, machine, measuring, workloads
from benchmarks.client import UnexpectedAnswer
from benchmarks.measuring import Clock, Measurement
from benchmarks.scene import Scene
from modelstead.tracking.v1 import ingest_pb2, ingest_pb2_grpc, metrics_pb2, metrics_pb2_grpc
from services.local import waiting

_STREAMS = 8
_SAMPLE = 320
_LOAD_POINTS = 100_000
_LARGE_ANSWERS = (("grpc.max_receive_message_length", -1),)
_SEAL_S = 120.0
_OUR_TABLES = (("tracking", "metrics"), ("tracking", "metric_points"), ("tracking", "metric_chunks"))
_OUR_COUNT = "SELECT sum(point_count) FROM tracking.metrics"
_MLFLOW_TABLES = (("metrics",), ("latest_metrics",))
_MLFLOW_COUNT = "SELECT count(*) FROM metrics"
_END_TIMEOUT_S = 30


async def ingest(scene: Scene) -> Measurement:
    """Points per second acknowledged to 8 streams, each of batches of 1,000 for its own run."""
    if scene.grpc_address is None:
        return await workloads.log_batch(scene)
    async with scene.endpoint.connections(_STREAMS) as connections:
        run_ids = await scene.new_runs(connections)
    with _client(str(scene.grpc_address), run_ids) as client:
        await asyncio.sleep(scene.scale.warm_up_s)
        clock, samples = Clock(), []
        began_s = machine.cpu_s(client.pid)
        for _ in range(scene.scale.windows):
            began, before = time.perf_counter(), await _acknowledged(client)
            await asyncio.sleep(scene.scale.window_s)
            samples.append((await _acknowledged(client) - before) / (time.perf_counter() - began))
        measurement = clock.measurement(samples)
        client_cores = (machine.cpu_s(client.pid) - began_s) / clock.elapsed_s()
    return replace(measurement, client_cores=measurement.client_cores + client_cores)


async def read_history(scene: Scene) -> Measurement:
    """Seconds to get every point of the long metric as columns."""
    if scene.grpc_address is None:
        return await workloads.history(scene)
    request = metrics_pb2.ReadMetricHistoryRequest(run_id=await scene.series_run(), metric_key=dataset.SERIES_KEY)
    async with grpc.aio.insecure_channel(str(scene.grpc_address), options=_LARGE_ANSWERS) as channel:
        stub = metrics_pb2_grpc.MetricServiceStub(channel)
        counts: list[int] = []

        async def fetch() -> None:
            parts = [np.frombuffer(answer.values, "<f8") async for answer in stub.ReadMetricHistory(request)]
            counts[:] = [len(np.concatenate(parts))]

        await fetch()
        measurement = await measuring.duration(fetch, factor=1.0, scale=scene.scale)
    if counts != [scene.scale.points]:
        raise UnexpectedAnswer(f"The answer has {counts[0]:,} points, not {scene.scale.points:,}.")
    return measurement


async def long_sample(scene: Scene) -> Measurement:
    """Milliseconds to get 320 points over REST that are spread evenly over one metric of many."""
    async with scene.endpoint.connections(1) as [connection]:
        [run_id] = await scene.new_runs([connection])
        await _load(str(scene.grpc_address), run_id, scene.scale.long_points)
        request = calls.bulk_interval(scene.endpoint, run_id, max_results=_SAMPLE)

        async def sample() -> None:
            answer = orjson.loads(await connection.send(request))["metrics"]
            if len(answer) != _SAMPLE or answer[-1]["step"] != scene.scale.long_points - 1:
                raise UnexpectedAnswer(f"The sample has {len(answer)} points, not {_SAMPLE} to the last one.")

        await sample()
        return await measuring.duration(sample, factor=1000.0, scale=scene.scale)


async def _load(address: str, run_id: str, count: int) -> None:
    """Log one metric of so many points in order, by single large batches."""
    session, random = ingest_pb2.Session(session_id=uuid.uuid4().hex, epoch=1), np.random.default_rng(1)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        for number in range(count // _LOAD_POINTS):
            steps = np.arange(number * _LOAD_POINTS, (number + 1) * _LOAD_POINTS)
            columns = ingest_pb2.PointColumns(
                keys=[dataset.SERIES_KEY],
                counts=[_LOAD_POINTS],
                steps=steps.tobytes(),
                timestamps=(1_700_000_000_000 + 1000 * steps).tobytes(),
                values=random.standard_normal(_LOAD_POINTS).tobytes(),
            )
            batch = ingest_pb2.Batch(sequence=number + 1, run_id=run_id, points=columns)
            await stub.IngestBatch(ingest_pb2.IngestBatchRequest(session=session, batch=batch))


async def stored_bytes(scene: Scene) -> Measurement:
    """Bytes a point of the tables of metrics."""
    await sealed(scene)
    is_ours = scene.grpc_address is not None
    tables, count = (_OUR_TABLES, _OUR_COUNT) if is_ours else (_MLFLOW_TABLES, _MLFLOW_COUNT)
    clock = Clock()
    with psycopg.connect(scene.admin_url.replace("+psycopg2", ""), autocommit=True) as connection:
        total = 0
        for table in tables:
            connection.execute(sql.SQL("VACUUM FULL {}").format(sql.Identifier(*table)))
            [[size]] = connection.execute("SELECT pg_total_relation_size(%s::regclass)", [".".join(table)]).fetchall()
            total += size
        [[points]] = connection.execute(count).fetchall()
    return clock.measurement([total / float(points)])


async def sealed(scene: Scene) -> None:
    """Wait until the background work on chunks has ended; of a system that has none there is nothing to wait for."""
    if scene.grpc_address is None:
        return
    with psycopg.connect(scene.admin_url, autocommit=True) as connection:
        if not await asyncio.to_thread(waiting.until, lambda: _is_sealed(connection), timeout_s=_SEAL_S):
            raise UnexpectedAnswer("The background work on chunks has not ended.")


def _is_sealed(connection: "psycopg.Connection[Any]") -> bool:
    return connection.execute("SELECT FROM tracking.sealing_queue LIMIT 1").fetchone() is None


@contextlib.contextmanager
def _client(address: str, run_ids: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that streams, and see that it ends without an error."""
    command = [sys.executable, "-m", "benchmarks.ingest_client", address, *run_ids]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.communicate(timeout=_END_TIMEOUT_S)
    if process.returncode:
        raise UnexpectedAnswer(f"The client that streams ended with {process.returncode}.")


async def _acknowledged(client: "subprocess.Popen[str]") -> int:
    """Ask a client how many of its points are acknowledged."""
    assert client.stdin
    assert client.stdout
    client.stdin.write("\n")
    client.stdin.flush()
    return int(await asyncio.to_thread(client.stdout.readline) or "0")
