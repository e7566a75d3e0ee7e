"""Turns what was logged, call by call, into batches: of each run its start, its parameters and tags, points in columns,
and its end.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

from modelstead.tracking.v1 import ingest_pb2 as pb

# Far below what a batch may be, so that acknowledgements come often.
POINTS_MAX = 20_000
METRICS_MAX = 1000
KEY_BYTES_MAX = 1024 * 1024
TEXTS_MAX = 100

Row = tuple[str, int, int, tuple[str, ...], tuple[float, ...], str]
"""One call of `log`: run, step, timestamp in milliseconds, names, values, and the trace that it was made in, if any."""


@dataclass(frozen=True, slots=True)
class Control:
    """What concerns a run besides points."""

    run_id: str
    start: pb.StartRun | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    end: pb.EndRun | None = None
    trace_parent: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it is spooled, without its sequence; `points` is 0 for one that is never dropped."""

    payload: bytes
    points: int


def of(items: Iterable[Row | Control]) -> list[Batch]:
    """Return the batches of what was logged, in the order in which they take effect."""
    runs: dict[str, _Run] = {}
    for item in items:
        run_id = item[0] if isinstance(item, tuple) else item.run_id
        run = runs.get(run_id)
        if run is None:
            run = runs[run_id] = _Run(run_id)
        run.add(item)
    return [batch for run in runs.values() for batch in run.batches()]


@dataclass(slots=True)
class _Run:
    run_id: str
    starts: list[pb.StartRun] = field(default_factory=list)
    # Of each call, as the server refuses a batch as a whole: one call's mistake takes nothing of another's with it.
    params: list[dict[str, str]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    # The rows by the names that they have, which from one call to the next are most often the same.
    rows: dict[tuple[str, ...], list[Row]] = field(default_factory=dict)
    ends: list[pb.EndRun] = field(default_factory=list)
    # The newest.
    trace_parent: str = ""

    def add(self, item: Row | Control) -> None:
        if isinstance(item, tuple):
            self.rows.setdefault(item[3], []).append(item)
            self.trace_parent = item[5] or self.trace_parent
            return
        self.trace_parent = item.trace_parent or self.trace_parent
        if item.start is not None:
            self.starts.append(item.start)
        if item.end is not None:
            self.ends.append(item.end)
        self.params.append(item.params)
        self.tags.update(item.tags)

    def batches(self) -> Iterator[Batch]:
        for start in self.starts:
            yield self._batch(0, start=start)
        for params in self.params:
            for part in _parts(params):
                yield self._batch(0, params=part)
        for tags in _parts(self.tags):
            yield self._batch(0, tags=tags)
        for points, count in _columns(self.rows):
            yield self._batch(count, points=points)
        for end in self.ends[-1:]:
            yield self._batch(0, end=end)

    def _batch(self, count: int, /, **content: Any) -> Batch:
        # What is not set is not sent.
        message = pb.Batch(run_id=self.run_id, trace_parent=self.trace_parent or None, **content)
        return Batch(message.SerializeToString(), count)


@dataclass(slots=True)
class _Columns:
    """The points of one metric, in the order in which they were logged."""

    steps: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def cut(self, count: int) -> "_Columns":
        """Take the first points out."""
        part = _Columns(self.steps[:count], self.timestamps[:count], self.values[:count])
        del self.steps[:count], self.timestamps[:count], self.values[:count]
        return part


def _columns(rows: dict[tuple[str, ...], list[Row]]) -> Iterator[tuple[pb.PointColumns, int]]:
    """Yield the points sorted by metric, in messages of a bounded size, each with how many points it has."""
    metrics: dict[str, _Columns] = {}
    for keys, calls in rows.items():
        steps, timestamps = [call[1] for call in calls], [call[2] for call in calls]
        for key, values in zip(keys, zip(*(call[4] for call in calls), strict=True), strict=True):
            columns = metrics.setdefault(key, _Columns())
            columns.steps += steps
            columns.timestamps += timestamps
            columns.values += values
    part: dict[str, _Columns] = {}
    points = key_bytes = 0
    for key, columns in metrics.items():
        while columns.values:
            taken = part[key] = columns.cut(POINTS_MAX - points)
            points += len(taken.values)
            key_bytes += 4 * len(key)
            if points == POINTS_MAX or len(part) == METRICS_MAX or key_bytes > KEY_BYTES_MAX:
                yield _message(part), points
                part, points, key_bytes = {}, 0, 0
    if points:
        yield _message(part), points


def _message(metrics: dict[str, _Columns]) -> pb.PointColumns:
    return pb.PointColumns(
        keys=list(metrics),
        counts=[len(columns.values) for columns in metrics.values()],
        steps=_packed("q", (columns.steps for columns in metrics.values())),
        timestamps=_packed("q", (columns.timestamps for columns in metrics.values())),
        values=_packed("d", (columns.values for columns in metrics.values())),
    )


def _packed(kind: Literal["q", "d"], columns: Iterable[list[Any]]) -> bytes:
    packed: array[Any] = array(kind)
    for column in columns:
        packed.extend(column)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _parts(texts: dict[str, str]) -> Iterator[dict[str, str]]:
    items = iter(texts.items())
    while part := dict(islice(items, TEXTS_MAX)):
        yield part
