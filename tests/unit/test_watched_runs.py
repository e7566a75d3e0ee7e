"""What `runs watch` makes of what it is told: events, courses, rates, and when it is over."""

import itertools
import math
from typing import Any

import pytest

from modelstead.commands.events import Event, parse
from modelstead.commands.runs.watched import WatchedRun
from modelstead.commands.screens.sparklines import by_step


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(clock: Clock) -> WatchedRun:
    return WatchedRun(clock)


def state(status: str, **fields: Any) -> dict[str, Any]:
    return {"run": {"run_id": "r", "status": status, **fields}}


def points(steps: range, key: str = "loss", **fields: Any) -> dict[str, Any]:
    values = [float(step) for step in steps]
    return {"points": {"key": key, "steps": [*steps], "timestamps": [*steps], "values": values, **fields}}


def test_events_are_parsed() -> None:
    first = b'retry: 1000\n\nid: a\nevent: run\ndata: {"run":{}}\n\n:\n\n'
    second = b'id: b\nevent: points\ndata: {"points":1}\n\nid: c\n'

    events = list(parse((first + second).splitlines(keepends=True)))

    assert events == [
        Event(kind="run", data={"run": {}}, id="a"),
        Event(),
        Event(kind="points", data={"points": 1}, id="b"),
    ]


def test_a_run_is_over_when_it_has_ended_and_all_has_been_told(watched: WatchedRun) -> None:
    over = []
    for kind, data in (
        ("run", state("RUNNING")), ("", {}), ("run", state("FAILED")), ("points", points(range(3))), ("", {})
    ):  # fmt: skip
        watched.tell(kind, data)
        over.append(watched.is_over)

    assert over == [False, False, False, False, True]


def test_what_was_there_at_the_beginning_is_no_pace(watched: WatchedRun, clock: Clock) -> None:
    watched.tell("run", state("RUNNING"))
    watched.tell("points", points(range(300)))
    watched.tell("", {})
    assert (watched.points_per_s, watched.steps_per_s, watched.step) == (0, 0, 299)

    clock.now_s += 5
    watched.tell("points", points(range(300, 350), skipped_count=150))

    assert (watched.points_per_s, watched.steps_per_s, watched.step) == (40, 10, 349)
    clock.now_s += 10.5
    assert (watched.points_per_s, watched.steps_per_s) == (0, 0)


def test_the_latest_point_is_the_one_with_the_greatest_step(watched: WatchedRun) -> None:
    watched.tell("run", state("RUNNING", metrics=[{"key": "loss", "value": "NaN", "timestamp": 5, "step": 9}]))
    watched.tell("points", points(range(3)))

    course = watched.courses["loss"]
    assert course.step == 9
    assert math.isnan(course.latest)
    watched.tell("points", points(range(9, 11)))
    assert (course.step, course.latest) == (10, 10.0)


def test_a_metric_that_is_told_anew_begins_anew(watched: WatchedRun) -> None:
    watched.tell("points", points(range(100)))
    watched.tell("points", points(range(5), restarted=True))

    assert watched.courses["loss"].steps == [0, 1, 2, 3, 4]
    assert watched.courses["loss"].step == 4


def test_a_long_watch_does_not_keep_every_point(watched: WatchedRun) -> None:
    for start in range(0, 100_000, 1000):
        watched.tell("points", points(range(start, start + 1000)))

    course = watched.courses["loss"]
    gaps = [after - before for before, after in itertools.pairwise(course.steps)]
    assert len(course.steps) <= 4096
    assert (course.steps[-1], course.latest) == (99_999, 99_999)
    # What is old is not thinner for that.
    assert max(gaps) <= 500


def test_a_metric_without_steps_keeps_its_newest_points(watched: WatchedRun) -> None:
    for start in range(0, 10_000, 1000):
        values = [float(value) for value in range(start, start + 1000)]
        told = {"key": "loss", "steps": [0] * 1000, "timestamps": [1] * 1000, "values": values}
        watched.tell("points", {"points": told})

    assert len(watched.courses["loss"].values) <= 4096
    assert watched.courses["loss"].values[-1] == 9999


def test_a_curve_is_as_wide_for_equal_steps() -> None:
    # Few points of the first half are there, and all of the second.
    steps, values = [0, 10, 20, 30, *range(40, 80)], [0.0] * 4 + [1.0] * 40

    assert by_step(steps, values, 8) == pytest.approx([0, 0, 0, 0, 1, 1, 1, 1])
    assert by_step([0, 70], [5.0, 6.0], 8) == [5, 5, 5, 5, 5, 5, 5, 6]
    assert by_step([3, 3, 3], [1.0, 2.0, 3.0], 2) == [1, 2, 3]
    assert by_step([], [], 8) == []
