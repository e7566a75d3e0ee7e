"""The REST calls of the workloads, ready to be sent; both systems take the same ones."""

import random
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from benchmarks import dataset
from benchmarks.client import Connection, Endpoint
from benchmarks.dataset import Point, SearchRun

BATCH_POINTS = 1000
SEARCH_EXPERIMENTS = "/api/2.0/mlflow/experiments/search"
_RUNS = "/api/2.0/mlflow/runs"
_METRICS = "/api/2.0/mlflow/metrics"

_BATCH_KEYS = 10
_BATCH_STEPS = BATCH_POINTS // _BATCH_KEYS
# Steps and timestamps carry the number of their batch in these six places, so that a batch is written by one
# replacement in a ready text: writing its JSON anew would keep the client busier than the server.
_PLACES = b"@" * 6
_FIRST_BATCH = 100_000

_PAGE_TOKEN = re.compile(rb'"next_page_token":\s*"([^"]+)"')


async def create_experiment(connection: Connection, endpoint: Endpoint, name: str) -> str:
    """Create an experiment and return its id."""
    request = endpoint.post("/api/2.0/mlflow/experiments/create", orjson.dumps({"name": name}))
    return str(orjson.loads(await connection.send(request))["experiment_id"])


async def create_run(connection: Connection, request: bytes) -> str:
    """Send a request made by `run_creation` and return the run's id."""
    return str(orjson.loads(await connection.send(request))["run"]["info"]["run_id"])


def run_creation(endpoint: Endpoint, experiment_id: str, *, name: str, start_time: int) -> bytes:
    """Return a request that creates a run as the MLflow client does."""
    body = {
        "experiment_id": experiment_id,
        "user_id": "bench",
        "run_name": name,
        "start_time": start_time,
        "tags": [{"key": key, "value": value} for key, value in dataset.RUN_TAGS.items()],
    }
    return endpoint.post(f"{_RUNS}/create", orjson.dumps(body))


def run_end(endpoint: Endpoint, run_id: str) -> bytes:
    body = {"run_id": run_id, "status": "FINISHED", "end_time": 1_700_000_000_000}
    return endpoint.post(f"{_RUNS}/update", orjson.dumps(body))


def run_log(endpoint: Endpoint, run_id: str, run: SearchRun) -> bytes:
    """Return one batch with all params and metrics of a run."""
    metrics = [
        {"key": key, "value": value, "timestamp": run.start_time, "step": 0} for key, value in run.metrics.items()
    ]
    params = [{"key": key, "value": value} for key, value in run.params.items()]
    return endpoint.post(f"{_RUNS}/log-batch", orjson.dumps({"run_id": run_id, "metrics": metrics, "params": params}))


def series_log(endpoint: Endpoint, run_id: str, points: Sequence[Point]) -> bytes:
    """Return one batch with points of the long metric."""
    metrics = [
        {"key": dataset.SERIES_KEY, "value": point.value, "timestamp": point.timestamp, "step": point.step}
        for point in points
    ]
    return endpoint.post(f"{_RUNS}/log-batch", orjson.dumps({"run_id": run_id, "metrics": metrics}))


class Batches:
    """An endless supply of batches for one run, 10 metrics of 100 steps each, no point twice."""

    def __init__(self, endpoint: Endpoint, run_id: str) -> None:
        draw = random.Random(run_id)
        places = _PLACES.decode("ascii")
        points = ",".join(
            f'{{"key":"metric_{key}","value":{draw.random()},"timestamp":17{places}{step:05},"step":{places}{step:02}}}'
            for step in range(_BATCH_STEPS)
            for key in range(_BATCH_KEYS)
        )
        body = f'{{"run_id":"{run_id}","metrics":[{points}],"params":[],"tags":[]}}'
        self._request = endpoint.post(f"{_RUNS}/log-batch", body.encode("ascii"))
        self._number = _FIRST_BATCH

    def next(self) -> bytes:
        self._number += 1
        return self._request.replace(_PLACES, str(self._number).encode("ascii"))


class SingleMetrics:
    """An endless supply of single points for one run, no step twice."""

    def __init__(self, endpoint: Endpoint, run_id: str) -> None:
        self._endpoint = endpoint
        self._body = f'{{"run_id":"{run_id}","key":"loss","value":0.25,"timestamp":1700000000000,"step":'
        self._step = 0

    def next(self) -> bytes:
        self._step += 1
        return self._endpoint.post("/api/2.0/mlflow/runs/log-metric", f"{self._body}{self._step}}}".encode("ascii"))


def search(endpoint: Endpoint, experiment_id: str, *, max_results: int, **criteria: Any) -> bytes:
    """Return a search for runs; `criteria` are `filter` or `order_by`."""
    body = {"experiment_ids": [experiment_id], "max_results": max_results, "run_view_type": "ACTIVE_ONLY", **criteria}
    return endpoint.post(f"{_RUNS}/search", orjson.dumps(body))


def history(endpoint: Endpoint, run_id: str, **page: str) -> bytes:
    """Return a request for points of the long metric; `page` are `max_results` and `page_token`."""
    query = urlencode({"run_id": run_id, "metric_key": dataset.SERIES_KEY, **page}, quote_via=quote)
    return endpoint.get(f"{_METRICS}/get-history?{query}")


def bulk_interval(endpoint: Endpoint, run_id: str, *, max_results: int) -> bytes:
    query = urlencode({"run_ids": run_id, "metric_key": dataset.SERIES_KEY, "max_results": max_results})
    return endpoint.get(f"{_METRICS}/get-history-bulk-interval?{query}")


def page_token(body: bytes) -> str | None:
    """Return the token of the next page. Found by search: parsing a page would take as long as its transport."""
    found = _PAGE_TOKEN.search(body)
    return found[1].decode("ascii") if found else None
