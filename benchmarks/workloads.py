"""What is measured: one function a row of the table. Each checks that it measured the right answer."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

from benchmarks import calls, dataset, machine, measuring
from benchmarks.client import Connection, UnexpectedAnswer
from benchmarks.measuring import Call, Clock, Measurement
from benchmarks.scale import Scale
from benchmarks.scene import Scene
from benchmarks.systems import System

_BATCH_CLIENTS = 8
_METRIC_CLIENTS = 32
_PAGE = 25_000
_SAMPLE = 320
_MS = 1000.0
_WARM_UP_CLIENTS = 16
_WARM_UP_ROUNDS = 4


async def log_batch(scene: Scene) -> Measurement:
    """Points per second acknowledged to 8 clients, each logging batches of 1,000 into its own run."""
    async with scene.endpoint.connections(_BATCH_CLIENTS) as connections:
        supplies = [calls.Batches(scene.endpoint, run_id).next for run_id in await scene.new_runs(connections)]
        work = list(map(_sending, connections, supplies))
        return await measuring.rate(work, per_call=calls.BATCH_POINTS, scale=scene.scale)


async def log_metric(scene: Scene) -> Measurement:
    """Calls per second acknowledged to 32 clients, each logging one point a call into its own run."""
    async with scene.endpoint.connections(_METRIC_CLIENTS) as connections:
        supplies = [calls.SingleMetrics(scene.endpoint, run_id).next for run_id in await scene.new_runs(connections)]
        return await measuring.rate(list(map(_sending, connections, supplies)), per_call=1, scale=scene.scale)


async def create_and_end(scene: Scene) -> Measurement:
    """Runs per second created and ended by one client."""
    async with scene.endpoint.connections(1) as [connection]:
        experiment_id = await scene.new_experiment(connection)
        creation = calls.run_creation(scene.endpoint, experiment_id, name="bench", start_time=1)

        async def run() -> None:
            run_id = await calls.create_run(connection, creation)
            await connection.send(calls.run_end(scene.endpoint, run_id))

        return await measuring.rate([run], per_call=1, scale=scene.scale)


async def search_filter(scene: Scene, *, limit: int) -> Measurement:
    """Milliseconds to get the newest `limit` of the half of all runs that pass a filter by metric."""
    criteria = f"metrics.{dataset.SEARCH_METRIC} > {dataset.SEARCH_THRESHOLD}"
    return await _search(scene, dataset.filtered, limit=limit, filter=criteria)


async def search_order(scene: Scene, *, limit: int) -> Measurement:
    """Milliseconds to get the `limit` best of all runs by a metric."""
    return await _search(scene, dataset.ordered, limit=limit, order_by=[f"metrics.{dataset.SEARCH_METRIC} DESC"])


async def first_page(scene: Scene) -> Measurement:
    """Milliseconds to get what MLflow's web UI asks for when an experiment is opened."""
    return await _search(scene, dataset.newest, limit=100, filter="", order_by=["attributes.start_time DESC"])


async def history(scene: Scene) -> Measurement:
    """Seconds to get every point of the long metric in one answer."""
    request = calls.history(scene.endpoint, await scene.series_run())
    async with scene.endpoint.connections(1) as [connection]:
        await connection.send(calls.history(scene.endpoint, await scene.series_run(), max_results="1000"))
        answers: list[bytes] = []

        async def fetch() -> None:
            answers[:] = [await connection.send(request)]

        measurement = await measuring.duration(fetch, factor=1.0, scale=scene.scale)
    _require(scene.scale.points, len(orjson.loads(answers[0])["metrics"]), "points")
    return measurement


async def history_paged(scene: Scene) -> Measurement:
    """Seconds to get every point of the long metric in pages of 25,000."""
    run_id = await scene.series_run()
    async with scene.endpoint.connections(1) as [connection]:
        await connection.send(calls.history(scene.endpoint, run_id, max_results="1000"))

        async def fetch() -> None:
            pages, token = 0, ""
            while pages == 0 or token:
                page = {"max_results": str(_PAGE), **({"page_token": token} if token else {})}
                token = calls.page_token(await connection.send(calls.history(scene.endpoint, run_id, **page))) or ""
                pages += 1
            _require(-(-scene.scale.points // _PAGE), pages, "pages")

        return await measuring.duration(fetch, factor=1.0, scale=scene.scale)


async def bulk_interval(scene: Scene) -> Measurement:
    """Milliseconds to get 320 points spread evenly over the long metric."""
    request = calls.bulk_interval(scene.endpoint, await scene.series_run(), max_results=_SAMPLE)
    async with scene.endpoint.connections(1) as [connection]:
        _require(_SAMPLE, len(orjson.loads(await connection.send(request))["metrics"]), "points")
        return await measuring.duration(_sending(connection, lambda: request), factor=_MS, scale=scene.scale)


async def idle_memory(scene: Scene) -> Measurement:
    """Megabytes that the platform takes while nobody asks it anything, its database aside."""
    await _warm_up(scene)
    return await _memory(scene)


async def memory_afterwards(scene: Scene) -> Measurement:
    """The same when the workloads before it are done."""
    return await _memory(scene)


def cold_start(system: System, scale: Scale) -> Measurement:
    """Seconds from starting the command to its first answer."""
    samples, clock = [], Clock()
    for _ in range(scale.cold_starts):
        with system.start_cold() as running:
            samples.append(running.took_s)
    return clock.measurement(samples)


async def _search(scene: Scene, expect: Callable[..., list[str]], *, limit: int, **criteria: Any) -> Measurement:
    request = calls.search(scene.endpoint, await scene.searchable(), max_results=limit, **criteria)
    expected = expect(scene.runs, limit=limit)
    async with scene.endpoint.connections(1) as [connection]:
        found = orjson.loads(await connection.send(request))["runs"]
        if [run["info"]["run_name"] for run in found] != expected:
            raise UnexpectedAnswer(f"The search found other runs than it should: {len(found)} for {len(expected)}.")
        return await measuring.duration(_sending(connection, lambda: request), factor=_MS, scale=scene.scale)


async def _memory(scene: Scene) -> Measurement:
    samples, clock = [], Clock()
    for _ in range(scene.scale.windows):
        await asyncio.sleep(scene.scale.idle_s)
        samples.append(machine.tree_pss_bytes(scene.pid) / 1e6)
    return clock.measurement(samples)


async def _warm_up(scene: Scene) -> None:
    """Have every worker process answer calls of each kind, so that it has loaded all that it uses."""
    async with scene.endpoint.connections(_WARM_UP_CLIENTS) as connections, asyncio.TaskGroup() as tasks:
        for connection in connections:
            tasks.create_task(_use(scene, connection))


async def _use(scene: Scene, connection: Connection) -> None:
    for _ in range(_WARM_UP_ROUNDS):
        experiment_id = await scene.new_experiment(connection)
        creation = calls.run_creation(
            scene.endpoint, experiment_id, name="bench", start_time=time.time_ns() // 1_000_000
        )
        run_id = await calls.create_run(connection, creation)
        await connection.send(calls.Batches(scene.endpoint, run_id).next())
        await connection.send(calls.search(scene.endpoint, experiment_id, max_results=10))
        await connection.send(calls.run_end(scene.endpoint, run_id))


def _sending(connection: Connection, supply: Callable[[], bytes]) -> Call:
    """Return a call that sends the next request of a supply."""
    return lambda: connection.send(supply())


def _require(expected: int, found: int, what: str) -> None:
    if found != expected:
        raise UnexpectedAnswer(f"The answer has {found:,} {what}, not {expected:,}.")
