"""What a watch has told of a run until now: its state, the course of its metrics, and how fast it goes on."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from modelstead.commands.rest import Json
from modelstead.commands.screens.texts import to_number

_ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
# Where there are more points for a curve than the first number, of each equal share of the steps one stays: the second.
_POINTS_MAX, _SHARES = 4096, 1024
_WINDOW_S = 10.0


@dataclass(kw_only=True)
class Course:
    """A metric: points for its curve, and the latest one."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    latest: float = 0.0
    step: int = 0
    timestamp: int = 0

    def add(self, steps: list[int], values: list[float]) -> None:
        """Add points to the curve."""
        self.steps += steps
        self.values += values
        if len(self.steps) > _POINTS_MAX:
            self._thin()

    def _thin(self) -> None:
        first, extent = self.steps[0], self.steps[-1] - self.steps[0] + 1
        if extent <= 1:
            self.steps, self.values = self.steps[-_SHARES:], self.values[-_SHARES:]
            return
        of_share = {(step - first) * _SHARES // extent: at for at, step in enumerate(self.steps)}
        kept = sorted(of_share.values())
        self.steps, self.values = [self.steps[at] for at in kept], [self.values[at] for at in kept]

    def set_latest(self, step: int, timestamp: int, value: float) -> None:
        """Take a point as the latest if none is later: by step, then by timestamp, as in MLflow."""
        if (step, timestamp) >= (self.step, self.timestamp):
            self.step, self.timestamp, self.latest = step, timestamp, value


class Rate:
    """How much a second there was lately."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, count: int) -> None:
        """Take what came now."""
        self._notes.append((now_s, count))

    def per_second(self, now_s: float, since_s: float) -> float:
        """Return the mean over the last ten seconds, or since it was begun to look."""
        while self._notes and self._notes[0][0] < now_s - _WINDOW_S:
            self._notes.popleft()
        passed_s = max(min(now_s - since_s, _WINDOW_S), 1.0)
        return sum(count for _, count in self._notes) / passed_s


class WatchedRun:
    """A run that is watched."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self.run: Json = {}
        self.courses: dict[str, Course] = {}
        self._clock_s = clock_s
        # When all that there was at the beginning had been told.
        self._since_s: float | None = None
        self._is_told = False
        self._points, self._steps = Rate(), Rate()

    @property
    def status(self) -> str:
        return str(self.run.get("status", ""))

    @property
    def is_over(self) -> bool:
        """Whether the run has ended and all of it has been told."""
        return self._is_told and self.status in _ENDED

    @property
    def step(self) -> int:
        """The greatest step of any metric."""
        return max((course.step for course in self.courses.values()), default=0)

    @property
    def points_per_s(self) -> float:
        """How many points a second have come lately; those that were there at the beginning do not count."""
        return self._points.per_second(self._clock_s(), self._since_s) if self._since_s is not None else 0.0

    @property
    def steps_per_s(self) -> float:
        """By how many steps a second the run has gone on lately."""
        return self._steps.per_second(self._clock_s(), self._since_s) if self._since_s is not None else 0.0

    def tell(self, kind: str, data: Json) -> None:
        """Take an event: about the run, about points or, without a kind, that all has been told."""
        if kind == "run":
            self.run, self._is_told = data["run"], False
            for point in self.run.get("metrics", ()):
                course = self.courses.setdefault(point["key"], Course())
                course.set_latest(int(point.get("step", 0)), int(point["timestamp"]), to_number(point["value"]))
        elif kind == "points":
            self._add(data["points"])
        elif not kind:
            self._is_told = True
            self._since_s = self._clock_s() if self._since_s is None else self._since_s

    def _add(self, points: Json) -> None:
        if points.get("restarted"):
            self.courses.pop(points["key"], None)
        before = self.step
        course = self.courses.setdefault(points["key"], Course())
        steps, values = points.get("steps", []), [to_number(value) for value in points.get("values", ())]
        course.add(steps, values)
        if steps:
            course.set_latest(steps[-1], points["timestamps"][-1], values[-1])
        if self._since_s is not None:
            self._points.note(self._clock_s(), len(steps) + points.get("skipped_count", 0))
            self._steps.note(self._clock_s(), max(self.step - before, 0))
