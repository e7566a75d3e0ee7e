"""Even samples of metrics' histories, for curves."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from modelstead.commands.rest import Json, Rest
from modelstead.commands.screens.texts import to_number

_RUNS_MAX = 100
_AT_ONCE_MAX = 8


def of_runs(rest: Rest, run_ids: Sequence[str], key: str, points_max: int) -> list[Json]:
    """Return at most so many points of a metric of each run, by run and step. Raises CommandError."""
    found: list[Json] = []
    for start in range(0, len(run_ids), _RUNS_MAX):
        found += _sample(rest, run_ids[start : start + _RUNS_MAX], key, points_max)
    return found


def of_metrics(rest: Rest, run_id: str, keys: Sequence[str], points_max: int) -> list[Json]:
    """Return at most so many points of each metric of a run, by key and step. Raises CommandError."""
    with ThreadPoolExecutor(_AT_ONCE_MAX) as pool:
        samples = pool.map(lambda key: _sample(rest, [run_id], key, points_max), keys)
        return [point for sample in samples for point in sample]


def values_by(field: str, points: Iterable[Json]) -> dict[str, list[float]]:
    """Return what was measured, by the `key` or `run_id` of the points."""
    found: dict[str, list[float]] = {}
    for point in points:
        found.setdefault(point[field], []).append(to_number(point["value"]))
    return found


def _sample(rest: Rest, run_ids: Sequence[str], key: str, points_max: int) -> list[Json]:
    query = {"run_ids": list(run_ids), "metric_key": key, "max_results": points_max}
    found: list[Json] = rest.get("metrics/get-history-bulk-interval", query).get("metrics", [])
    return found
