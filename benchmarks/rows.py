"""The rows of the table, in its order: what each measures, in which unit, and what is hoped for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from benchmarks import workloads
from benchmarks.measuring import Measurement
from benchmarks.scene import Scene


@dataclass(frozen=True, slots=True)
class Unit:
    """How a figure is written, and whether a greater one is better."""

    name: str
    more_is_better: bool = False
    decimals: int = 0

    def text(self, value: float) -> str:
        return f"{value:,.{self.decimals}f} {self.name}"


POINTS_PER_S = Unit("points/s", more_is_better=True)
PER_S = Unit("/s", more_is_better=True)
MS = Unit("ms", decimals=1)
SECONDS = Unit("s", decimals=2)
MB = Unit("MB")


class When(Enum):
    """When a row is measured. COLD rows start the system themselves, FRESH ones want one that has done nothing yet."""

    COLD = 0
    FRESH = 1
    LOADED = 2
    LAST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`measure` is None for the cold start, which has no running system to work on.

    A goal is either to be so many times better than MLflow in the same run, or to stay below a limit in the row's unit.
    """

    name: str
    work: str
    unit: Unit
    measure: Callable[[Scene], Awaitable[Measurement]] | None
    when: When = When.LOADED
    times_better_min: float | None = None
    limit: float | None = None


ROWS = (
    Row(
        name="log-batch",
        work="`log-batch` of 1,000 metrics, 8 clients",
        unit=POINTS_PER_S,
        measure=workloads.log_batch,
        times_better_min=30,
    ),
    Row(
        name="log-metric",
        work="single `log-metric`, 32 clients",
        unit=PER_S,
        measure=workloads.log_metric,
        times_better_min=10,
    ),
    Row(
        name="create-end",
        work="create run + end run, one client",
        unit=PER_S,
        measure=workloads.create_and_end,
        times_better_min=4,
    ),
    *(
        Row(
            name=f"search-{kind}{suffix}",
            work=f"search of {{runs:,}} runs, {kind} by metric, {limit:,} results",
            unit=MS,
            measure=partial(measure, limit=limit),
            times_better_min=times,
        )
        for limit, suffix, times in ((1000, "", 10), (100, "-100", None))
        for kind, measure in (("filter", workloads.search_filter), ("order", workloads.search_order))
    ),
    Row(
        name="history",
        work="history of one metric with {points:,} points, one call",
        unit=SECONDS,
        measure=workloads.history,
        times_better_min=20,
    ),
    Row(
        name="history-paged",
        work="the same, paged by 25,000",
        unit=SECONDS,
        measure=workloads.history_paged,
    ),
    Row(
        name="bulk-interval",
        work="bulk interval of that metric, 320 points",
        unit=MS,
        measure=workloads.bulk_interval,
        times_better_min=20,
    ),
    Row(
        name="memory",
        work="whole platform idle, Postgres aside",
        unit=MB,
        measure=workloads.idle_memory,
        when=When.FRESH,
        limit=300,
    ),
    Row(
        name="memory-after",
        work="the same after all of the above",
        unit=MB,
        measure=workloads.memory_afterwards,
        when=When.LAST,
    ),
    Row(
        name="cold-start",
        work="cold start to first answer (Modelstead: `initdb` included)",
        unit=SECONDS,
        measure=None,
        when=When.COLD,
        limit=4,
    ),
)
