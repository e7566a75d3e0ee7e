"""Fills a system with the data set before it is asked for it; how long that takes is not measured."""

import asyncio
import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import psycopg
from psycopg import sql

from benchmarks import calls, dataset
from benchmarks.client import Connection, Endpoint
from benchmarks.dataset import Point, SearchRun

_CONNECTIONS = 8

Row = tuple[Any, ...]


class Loader(Protocol):
    """Brings data into one system, so that it is as if logged through REST."""

    async def load_runs(self, experiment_id: str, runs: Sequence[SearchRun]) -> None: ...
    async def load_series(self, run_id: str, points: Iterable[Point]) -> None: ...


class RestLoader:
    """Logs everything through REST, a run or a thousand points a batch."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def load_series(self, run_id: str, points: Iterable[Point]) -> None:
        """Log points over one connection, so that they arrive in their order, as those of a training do."""
        async with self._endpoint.connections(1) as [connection]:
            for batch in _batches(points):
                await connection.send(calls.series_log(self._endpoint, run_id, batch))

    async def load_runs(self, experiment_id: str, runs: Sequence[SearchRun]) -> None:
        """Log runs over several connections, each of which takes the next run whenever it is free."""
        remaining = iter(runs)

        async def work(connection: Connection) -> None:
            for run in remaining:
                creation = calls.run_creation(self._endpoint, experiment_id, name=run.name, start_time=run.start_time)
                run_id = await calls.create_run(connection, creation)
                await connection.send(calls.run_log(self._endpoint, run_id, run))

        async with self._endpoint.connections(_CONNECTIONS) as connections, asyncio.TaskGroup() as tasks:
            for connection in connections:
                tasks.create_task(work(connection))


class CopyLoader:
    """Fills MLflow's tables by COPY with the rows that its REST calls would write: through them it takes minutes.

    The tables are those of MLflow 3.17, mlflow/store/tracking/dbmodels/models.py.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    async def load_runs(self, experiment_id: str, runs: Sequence[SearchRun]) -> None:
        rows = [(uuid.uuid4().hex, run) for run in runs]
        with psycopg.connect(self._url) as tx:
            _copy(tx, "runs", _RUN_COLUMNS, (_run_row(run_id, run, experiment_id) for run_id, run in rows))
            _copy(tx, "tags", ("run_uuid", "key", "value"), _tag_rows(rows))
            _copy(tx, "params", ("run_uuid", "key", "value"), _param_rows(rows))
            for table in ("metrics", "latest_metrics"):
                _copy(tx, table, _METRIC_COLUMNS, _metric_rows(rows))

    async def load_series(self, run_id: str, points: Iterable[Point]) -> None:
        rows = [(run_id, dataset.SERIES_KEY, p.value, p.timestamp, p.step, False) for p in points]
        with psycopg.connect(self._url) as tx:
            _copy(tx, "metrics", _METRIC_COLUMNS, rows)
            _copy(tx, "latest_metrics", _METRIC_COLUMNS, rows[-1:])


def settle(admin_url: str) -> None:
    """Do now what Postgres would do on its own in the next minutes, so that it does not do it while we measure."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


_METRIC_COLUMNS = ("run_uuid", "key", "value", "timestamp", "step", "is_nan")
_RUN_COLUMNS = (
    *("run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time"),
    *("source_version", "lifecycle_stage", "artifact_uri", "experiment_id"),
)


def _run_row(run_id: str, run: SearchRun, experiment_id: str) -> Row:
    artifact_uri = f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts"
    source = ("UNKNOWN", "", "")
    return (run_id, run.name, *source, "bench", "RUNNING", run.start_time, "", "active", artifact_uri, experiment_id)


def _tag_rows(rows: Sequence[tuple[str, SearchRun]]) -> Iterator[Row]:
    for run_id, run in rows:
        for key, value in {**dataset.RUN_TAGS, "mlflow.runName": run.name}.items():
            yield run_id, key, value


def _param_rows(rows: Sequence[tuple[str, SearchRun]]) -> Iterator[Row]:
    for run_id, run in rows:
        for key, value in run.params.items():
            yield run_id, key, value


def _metric_rows(rows: Sequence[tuple[str, SearchRun]]) -> Iterator[Row]:
    for run_id, run in rows:
        for key, value in run.metrics.items():
            yield run_id, key, value, run.start_time, 0, False


def _copy(tx: psycopg.Connection[Any], table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with tx.cursor().copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _batches(points: Iterable[Point]) -> Iterator[list[Point]]:
    remaining = iter(points)
    while batch := list(itertools.islice(remaining, calls.BATCH_POINTS)):
        yield batch
