"""What a watcher of a run is told next, decided from what it knows, without I/O.

A point's place is where it stands among the points of its metric in the order of arrival, which nothing changes but a
sort. So what a watcher knows of a metric is one number, and how often the metric had been sorted then: a `Cursor`.
"""

import base64
import binascii
import hashlib
import struct
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import orjson

from services.common.errors import InvalidArgument
from services.common.keys import check_key, check_length
from services.tracking.metrics.columns import Points
from services.tracking.metrics.model import Metric, bucket_starts
from services.tracking.rules import KEY_LENGTH_MAX
from services.tracking.runs.model import LatestMetrics, RunInfo

METRICS_MAX = 250
# Of a metric that is told, where not every point is asked for.
SAMPLE_POINTS = 320
# So far behind may a watcher be and still be told every point.
BEHIND_POINTS_MAX = 10_000
# Of one message, and of what is read for one watcher at once.
PAGE_POINTS = 4096
TOKEN_LENGTH_MAX = 32_768

_VERSION = 1
_HEAD = struct.Struct("<B16s8s?H")
_CURSOR = struct.Struct("<qqq")
_BASE_BYTES_MAX = _CURSOR.size * METRICS_MAX
# Cursors that moved since the others were packed, in a token.
_MOVED_MAX = 16


class Mark(NamedTuple):
    """Texts that differ after a change: of the run's state, and of its points."""

    state: str
    points: str


class Cursor(NamedTuple):
    """All points before `place` are known, as of the metric's so many sorts."""

    sort_count: int
    place: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedMetric(Metric):
    """A metric and its latest point."""

    sort_count: int
    value: float
    timestamp: int
    step: int

    @property
    def cursor(self) -> Cursor:
        """What who knows all points knows."""
        return Cursor(self.sort_count, self.point_count)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """What a run is besides its metrics. Of one digest are those that are equal."""

    info: RunInfo
    params: Mapping[str, str]
    tags: Mapping[str, str]
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        told = [[getattr(self.info, name) for name in RunInfo.__slots__], self.params, self.tags]
        packed = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        object.__setattr__(self, "digest", hashlib.blake2b(packed, digest_size=8).digest())


@dataclass(frozen=True, kw_only=True, slots=True)
class NewPoints:
    """Points of one metric that a watcher does not know yet; see modelstead.tracking.v1.WatchedPoints."""

    key: str
    points: Points
    skipped_count: int = 0
    is_restart: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldRun:
    """A run's state as a watcher is told, with the latest points of the metrics that it watches."""

    state: RunState
    metrics: LatestMetrics | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What a watcher is told, or with neither, that all is told; and where it goes on from there."""

    resume_token: str
    run: ToldRun | None = None
    points: NewPoints | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Points of a metric that follow each other, the first of them at the place `first`."""

    sort_count: int
    first: int
    points: Points

    def after(self, cursor: Cursor) -> tuple[Points, Cursor] | None:
        """Return the points that are new to who has a cursor, and the cursor after them; None if they do not follow."""
        last = self.first + len(self.points)
        if cursor.sort_count != self.sort_count or not self.first <= cursor.place < last:
            return None
        return self.points.take(slice(cursor.place - self.first, None)), Cursor(self.sort_count, last)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is read of a metric for a watcher: points at places, with the cursor after them."""

    metric: WatchedMetric
    first: int
    last: int
    # Ascending; None for all from `first` to before `last`.
    places: Sequence[int] | None = None
    is_restart: bool = False

    @property
    def point_count(self) -> int:
        """How many points it is."""
        return self.last - self.first if self.places is None else len(self.places)

    @property
    def skipped_count(self) -> int:
        """How many are left out."""
        return self.last - self.first - self.point_count

    @property
    def cursor(self) -> Cursor:
        """What is known once it is told."""
        return Cursor(self.metric.sort_count, self.last)


def in_step_order(metric: Metric, points: Points) -> Points:
    """Return points of a metric in the order of step, timestamp and value, in which they mostly arrived."""
    if metric.in_order:
        return points
    return points.take(np.lexsort((points.values, points.timestamps, points.steps)))


def plan(metric: WatchedMetric, cursor: Cursor | None, *, every_point: bool, is_begun: bool, room: int) -> Plan:
    """Return what to tell of a metric to who has a cursor, or none, of as many sorts: at most `room` points, unless
    they are an even sample.

    `is_begun`: who has no cursor has been told what there was at the beginning, so the metric is new.
    """
    first, last = cursor.place if cursor else 0, metric.point_count
    is_beginning = cursor is None and not is_begun
    if not every_point and last - first > (SAMPLE_POINTS if is_beginning else BEHIND_POINTS_MAX):
        places = [first + place for place in bucket_starts(last - first, SAMPLE_POINTS)]
        return Plan(metric=metric, first=first, last=last, places=places)
    return Plan(metric=metric, first=first, last=min(last, first + room))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which metrics of a run are watched: those of the keys, or else the first that were logged."""

    keys: frozenset[str]

    def of(self, metrics: Iterable[WatchedMetric]) -> list[WatchedMetric]:
        """Return the watched ones of metrics in the order of their ids, of which the first of all are there."""
        chosen = [metric for metric in metrics if not self.keys or metric.key in self.keys]
        return chosen[:METRICS_MAX]


def selection(keys: Sequence[str]) -> Selection:
    """Return the selection of a request. Raises InvalidArgument."""
    if len(keys) > METRICS_MAX:
        raise InvalidArgument(f"Parameter 'metric_keys' must have at most {METRICS_MAX} entries, got {len(keys)}.")
    if len(set(keys)) < len(keys):
        repeated = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise InvalidArgument(f"Invalid value '{repeated}' for parameter 'metric_keys' supplied: it is there twice.")
    for place, key in enumerate(keys):
        check_key(key, path=f"metric_keys[{place}]")
        check_length(f"metric_keys[{place}]", KEY_LENGTH_MAX, key)
    return Selection(frozenset(keys))


class Known:
    """What a watcher of a run knows, and the token that says so to any replica.

    A token is no secret and no proof: whoever makes one up is told what else he may read anyway, from odd places.
    """

    def __init__(self, run_id: str, resume_token: str = "") -> None:
        """Raises InvalidArgument for a token that is none of this run."""
        self._run = hashlib.blake2b(run_id.encode(), digest_size=16).digest()
        self._state = bytes(8)
        self._cursors: dict[int, Cursor] = {}
        self.is_begun = False
        # What was packed last, and what has moved since.
        self._base = b""
        self._moved: dict[int, Cursor] = {}
        if resume_token:
            self._resume(resume_token)
        self._pack()

    def cursor(self, metric_id: int) -> Cursor | None:
        """Return what is known of a metric."""
        return self._cursors.get(metric_id)

    def is_behind(self, metric: WatchedMetric) -> bool:
        """Whether something of a metric may be new."""
        known = self._cursors.get(metric.metric_id)
        return known is None or known < metric.cursor

    def learn(self, metric_id: int, cursor: Cursor) -> None:
        """Take what a cursor says of a metric for known."""
        self._cursors[metric_id] = self._moved[metric_id] = cursor

    def learn_state(self, state: RunState) -> bool:
        """Take a state for known; return whether it is news."""
        is_news, self._state = state.digest != self._state, state.digest
        return is_news

    def keep(self, metric_ids: Collection[int]) -> None:
        """Forget what is known of other metrics than these, which alone are watched."""
        if not self._cursors.keys() <= set(metric_ids):
            self._cursors = {key: cursor for key, cursor in self._cursors.items() if key in metric_ids}
            self._pack()

    def token(self) -> str:
        """Return the text with which a watcher goes on from here."""
        if len(self._moved) > _MOVED_MAX:
            self._pack()
        head = _HEAD.pack(_VERSION, self._run, self._state, self.is_begun, len(self._base))
        moved = b"".join(_CURSOR.pack(metric_id, *cursor) for metric_id, cursor in self._moved.items())
        return base64.urlsafe_b64encode(head + self._base + moved).decode()

    def _pack(self) -> None:
        cursors = np.array([(metric_id, *cursor) for metric_id, cursor in self._cursors.items()], "<i8")
        # By column: numbers that are alike stand side by side.
        self._base = zlib.compress(cursors.reshape(-1, 3).T.tobytes(), 1)
        self._moved = {}

    def _resume(self, token: str) -> None:
        try:
            if len(token) > TOKEN_LENGTH_MAX:
                raise ValueError
            data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
            version, run, self._state, self.is_begun, length = _HEAD.unpack_from(data)
            base, moved = data[_HEAD.size : _HEAD.size + length], data[_HEAD.size + length :]
            if version != _VERSION or run != self._run or len(moved) > _CURSOR.size * (_MOVED_MAX + 1):
                raise ValueError
            rows = np.frombuffer(_unpacked(base), "<i8").reshape(3, -1).T.tolist()
            for metric_id, *cursor in [*rows, *_CURSOR.iter_unpack(moved)]:
                self._cursors[metric_id] = Cursor(*(max(number, 0) for number in cursor))
        except (ValueError, UnicodeEncodeError, binascii.Error, struct.error, zlib.error):
            raise InvalidArgument("Parameter 'resume_token' is none that a watch of this run has sent.") from None


def _unpacked(base: bytes) -> bytes:
    """Return what was packed, which is bounded. Raises zlib.error, ValueError."""
    unpacking = zlib.decompressobj()
    data = unpacking.decompress(base, _BASE_BYTES_MAX + 1)
    if not unpacking.eof:
        raise ValueError
    return data
