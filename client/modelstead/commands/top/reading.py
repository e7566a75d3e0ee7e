"""What the services tell of themselves, and how it went over the last minutes."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.rest import Json, Rest, RestError
from modelstead.commands.runs import finding, ranks

SERVICES = ("tracking", "registry", "artifacts")
RUNS_MAX = 10
_RUNS_EVERY_S = 5.0
# A replica that has not answered for so long counts no more.
_REPLICA_S = 10.0
_SAMPLES_MAX = 120


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was answered at one time, by service: what it tells, or why it does not."""

    told: dict[str, Json]
    failed: dict[str, str]


class Reader:
    """Asks the services. Of several replicas one answers each time, so what all do is what each has said last."""

    def __init__(self, rest: Rest, clock_s: Callable[[], float]) -> None:
        self._rest = rest
        self._clock_s = clock_s
        self._replicas: dict[str, dict[str, tuple[float, Json]]] = {service: {} for service in SERVICES}
        self._samples: dict[str, deque[float]] = {}
        self._runs: tuple[float, list[Json]] | None = None

    def read(self) -> Reading:
        """Return what the services tell now. Raises CommandError where they refuse to."""
        told, failed = {}, {}
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            for service, answer in zip(SERVICES, pool.map(self._ask, SERVICES), strict=True):
                if isinstance(answer, str):
                    failed[service] = answer
                else:
                    told[service] = answer
                    replica = answer.get("process", {}).get("replica", "")
                    self._replicas[service][replica] = (self._clock_s(), answer)
        return Reading(told=told, failed=failed)

    def total(self, service: str, field: str) -> float:
        """Return the sum of what the replicas of a service have said last."""
        return sum(float(status.get(field, 0)) for status in self._recent(service))

    def most(self, service: str, field: str) -> float:
        """Return the greatest of what the replicas of a service have said last."""
        return max((float(status.get(field, 0)) for status in self._recent(service)), default=0.0)

    def replica_count(self, service: str) -> int:
        """Return how many replicas of a service have answered lately."""
        return len(self._recent(service))

    def sample(self, service: str, field: str) -> list[float]:
        """Return how a total has been, with what it is now at the end."""
        samples = self._samples.setdefault(f"{service}.{field}", deque(maxlen=_SAMPLES_MAX))
        samples.append(self.total(service, field))
        return list(samples)

    def runs(self) -> list[Json]:
        """Return the runs under way that started last, as of five seconds ago, with experiment and ranks."""
        if self._runs is None or self._clock_s() - self._runs[0] >= _RUNS_EVERY_S:
            self._runs = (self._clock_s(), _running(self._rest))
        return self._runs[1]

    def _ask(self, service: str) -> Json | str:
        try:
            return self._rest.get(f"status/{service}", {})
        except RestError as error:
            # Who is away may come back; what is refused or not there stays so.
            if error.code is not Exit.UNAVAILABLE:
                raise
            return error.message

    def _recent(self, service: str) -> list[Json]:
        oldest_s = self._clock_s() - _REPLICA_S
        return [status for at_s, status in self._replicas[service].values() if at_s >= oldest_s]


def _running(rest: Rest) -> list[Json]:
    try:
        names = {one["experiment_id"]: one["name"] for one in finding.list_experiments(rest)}
        body = {"experiment_ids": list(names), "filter": "attributes.status = 'RUNNING'", "max_results": RUNS_MAX}
        runs = rest.post("runs/search", body, may_repeat=True).get("runs", [])
        with ThreadPoolExecutor(RUNS_MAX) as pool:
            of_runs = list(pool.map(lambda run: ranks.read(rest, run["info"]["run_id"]), runs))
    except CommandError:
        # The figures are worth showing without them.
        return []
    return [
        {**run, "experiment_name": names[run["info"]["experiment_id"]], "ranks": of_run}
        for run, of_run in zip(runs, of_runs, strict=True)
    ]
