"""What was stored lately, by a clock of the test's own."""

from services.tracking.run_logs.meter import RUNS_MAX, Meter
from services.tracking.run_logs.model import LogEntry, MetricTable


def _entry(run_id: str, points: int = 0) -> LogEntry:
    table = MetricTable(keys=["m"] * points, values=[1.0] * points, timestamps=[1] * points, steps=[1] * points)
    return LogEntry(run_id=run_id, metrics=table)


def test_a_run_is_active_for_a_minute_after_it_logged() -> None:
    now_s = [1000.0]
    meter = Meter(clock_s=lambda: now_s[0])

    meter.note([_entry("a", 3), _entry("b")])
    now_s[0] += 59
    meter.note([_entry("a")])
    before = meter.active_run_count
    now_s[0] += 1

    assert (before, meter.active_run_count) == (2, 1)
    assert meter.points.total == 3


def test_no_more_runs_are_kept_than_are_allowed() -> None:
    meter = Meter(clock_s=lambda: 1000.0)

    meter.note(_entry(str(number)) for number in range(RUNS_MAX + 5))

    assert meter.active_run_count == RUNS_MAX
