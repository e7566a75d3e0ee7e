"""The runs and points that both systems hold before they are asked for them: the same in every benchmark run."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

_SEED = 20
_EPOCH_MS = 1_700_000_000_000
_PARAMS = 5
_METRICS = 5

SEARCH_METRIC = "metric_0"
SEARCH_THRESHOLD = 0.5
SERIES_KEY = "loss"

# What the MLflow client says about a run that it starts in a script.
RUN_TAGS = {"mlflow.user": "bench", "mlflow.source.name": "train.py", "mlflow.source.type": "LOCAL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRun:
    """A run to be found. Start times differ, so each search has exactly one right answer."""

    name: str
    start_time: int
    params: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    value: float
    timestamp: int
    step: int


def search_runs(count: int) -> list[SearchRun]:
    """Return `count` runs with 5 params and 5 metrics, these even between 0 and 1."""
    draw = random.Random(_SEED)
    return [
        SearchRun(
            name=f"search-{index}",
            start_time=_EPOCH_MS + index,
            params={f"param_{number}": f"{draw.random():.6f}" for number in range(_PARAMS)},
            metrics={f"metric_{number}": draw.random() for number in range(_METRICS)},
        )
        for index in range(count)
    ]


def filtered(runs: list[SearchRun], *, limit: int) -> list[str]:
    """Return the names of the runs above the threshold as a search without an order gives them: newest first."""
    found = [run for run in runs if run.metrics[SEARCH_METRIC] > SEARCH_THRESHOLD]
    return [run.name for run in sorted(found, key=lambda run: run.start_time, reverse=True)[:limit]]


def newest(runs: list[SearchRun], *, limit: int) -> list[str]:
    """Return the names of the runs that began last, the last first."""
    return [run.name for run in sorted(runs, key=lambda run: run.start_time, reverse=True)[:limit]]


def ordered(runs: list[SearchRun], *, limit: int) -> list[str]:
    """Return the names of the runs with the greatest values, greatest first."""
    best = sorted(runs, key=lambda run: run.metrics[SEARCH_METRIC], reverse=True)
    return [run.name for run in best[:limit]]


def series(count: int) -> Iterator[Point]:
    """Yield the points of one long metric, one a second."""
    draw = random.Random(_SEED)
    for step in range(count):
        yield Point(value=draw.random(), timestamp=_EPOCH_MS + step * 1000, step=step)
