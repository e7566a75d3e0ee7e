"""What a workload works on: one running system, and the data in it, loaded when the first workload needs it."""

import sys
import time

from benchmarks import calls, dataset, loading
from benchmarks.client import Connection, Endpoint
from benchmarks.dataset import SearchRun
from benchmarks.scale import Scale
from benchmarks.systems import Running, System


class Scene:
    """One running system under test."""

    def __init__(self, system: System, running: Running, scale: Scale) -> None:
        self.scale = scale
        self.pid = running.process.pid
        self.endpoint: Endpoint = running.endpoint
        self.registry_address = running.registry_address
        self.grpc_address = running.grpc_address
        self._system = system
        self._names = 0
        self._experiment_id: str | None = None
        self._series_run_id: str | None = None
        self.admin_url = system.admin_url
        self.runs: list[SearchRun] = []

    async def new_experiment(self, connection: Connection) -> str:
        self._names += 1
        return await calls.create_experiment(connection, self.endpoint, f"bench-{time.time_ns()}-{self._names}")

    async def new_runs(self, connections: list[Connection]) -> list[str]:
        """Create one run for each connection, all in one new experiment."""
        experiment_id = await self.new_experiment(connections[0])
        creation = calls.run_creation(self.endpoint, experiment_id, name="bench", start_time=1)
        return [await calls.create_run(connection, creation) for connection in connections]

    async def searchable(self) -> str:
        """Return the id of the experiment that holds `self.runs`."""
        if self._experiment_id is None:
            began = time.perf_counter()
            async with self.endpoint.connections(1) as [connection]:
                experiment_id = await self.new_experiment(connection)
            self.runs = dataset.search_runs(self.scale.runs)
            await self._system.loader(self.endpoint).load_runs(experiment_id, self.runs)
            self._settle(f"{len(self.runs):,} runs", began)
            self._experiment_id = experiment_id
        return self._experiment_id

    async def series_run(self) -> str:
        """Return the id of the run whose long metric has `scale.points` points."""
        if self._series_run_id is None:
            began = time.perf_counter()
            async with self.endpoint.connections(1) as connections:
                [run_id] = await self.new_runs(connections)
            await self._system.loader(self.endpoint).load_series(run_id, dataset.series(self.scale.points))
            self._settle(f"{self.scale.points:,} points", began)
            self._series_run_id = run_id
        return self._series_run_id

    def _settle(self, what: str, began: float) -> None:
        loading.settle(self._system.admin_url)
        print(f"{self._system.name}: loaded {what} in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
