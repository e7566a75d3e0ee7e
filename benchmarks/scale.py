"""How much data and time a benchmark run takes: the full one, and one to try the benchmarks themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes and durations. A rate is the median of `windows` windows, a duration the median of repeated calls.

    A call is repeated `repeats_min` times, and then on until `repeats_max` or until `budget_s` is used up.
    """

    name: str
    warm_up_s: float
    window_s: float
    windows: int
    repeats_min: int
    repeats_max: int
    budget_s: float
    cold_starts: int
    idle_s: float
    runs: int
    points: int
    # Of one metric, and of one job: how many ranks, and for how long they log.
    long_points: int
    ranks: int
    ranks_s: float
    file_bytes: int
    memory_file_bytes: int
    models: int


FULL = Scale(
    name="full",
    warm_up_s=3.0,
    window_s=6.0,
    windows=3,
    repeats_min=3,
    repeats_max=15,
    budget_s=10.0,
    cold_starts=3,
    idle_s=5.0,
    runs=10_000,
    points=1_000_000,
    long_points=10_000_000,
    ranks=1_000,
    ranks_s=300.0,
    file_bytes=256_000_000,
    memory_file_bytes=1024 * 1024 * 1024,
    models=5_000,
)

QUICK = Scale(
    name="quick",
    warm_up_s=0.5,
    window_s=1.0,
    windows=3,
    repeats_min=3,
    repeats_max=3,
    budget_s=1.0,
    cold_starts=1,
    idle_s=1.0,
    runs=500,
    points=20_000,
    long_points=200_000,
    ranks=100,
    ranks_s=10.0,
    file_bytes=8_000_000,
    memory_file_bytes=32 * 1024 * 1024,
    models=500,
)
