"""Appends batches to a spool: numbers them, keeps within a bound of disk, makes durable, rotates. Nothing else writes.

There are two series of segments, one of batches that are never dropped (`control`: start, parameters, tags, end) and
one of points, so that to make room is to remove the oldest segment of points, for which a full disk has room enough.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from modelstead.spool import segments
from modelstead.spool.files import FULL, Files
from modelstead.spool.segments import Header, Record

CONTROL, POINTS = "control", "points"
SUFFIX = ".seg"


class Durability(Enum):
    """What a loss of power may take: at most an interval of points, nothing, or what the system had not written."""

    INTERVAL = "interval"
    ALWAYS = "always"
    NEVER = "never"


class OnFull(Enum):
    """What gives way when a spool may not grow. Batches of no points never do before all points have."""

    DROP_OLDEST_POINTS = "drop_oldest_points"
    DROP_NEWEST = "drop_newest"
    RAISE = "raise"


class SpoolFull(Exception):
    """There is no room for a batch, and the policy, or what is there, leaves nothing to remove for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`spool_bytes_max` bounds all segments together."""

    segment_bytes: int = 8 * 1024 * 1024
    spool_bytes_max: int = 1024 * 1024 * 1024
    on_full: OnFull = OnFull.DROP_OLDEST_POINTS
    durability: Durability = Durability.INTERVAL


def segment_names(files: Files, series: str) -> list[str]:
    """Return the segments of a series, oldest first."""
    return sorted(name for name in files.names() if name.startswith(f"{series}-") and name.endswith(SUFFIX))


def first_sequence(name: str) -> int:
    """Return the sequence from which the records of a segment count."""
    return int(name.split("-")[1])


def _segment_name(series: str, sequence: int, attempt: int) -> str:
    """`attempt` tells apart a segment that could not be begun, nor removed, from the one that was begun instead."""
    return f"{series}-{sequence:020d}-{attempt:010d}{SUFFIX}"


class _Series:
    """The segment of one series that is written now, if any, how much of it is whole, and what is not yet durable."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.segment: str | None = None
        self.size = 0
        self.unsynced: list[str] = []


class Writer:
    """Writes one new session, from sequence 1. `acknowledged` tells what need not be counted when it is dropped.

    `last_sequence` is the newest batch that is on the disk, `synced_sequence` the newest that a loss of power leaves.
    """

    def __init__(
        self, files: Files, *, session_id: bytes, epoch: int, limits: Limits, acknowledged: Callable[[], int]
    ) -> None:
        self._files = files
        self._session_id = session_id
        self._epoch = epoch
        self._limits = limits
        self._acknowledged = acknowledged
        self._series = {CONTROL: _Series(CONTROL), POINTS: _Series(POINTS)}
        self._segment_count = 0
        # Not less than what is there: what the reader has removed is noticed when the bound is reached.
        self._used_bytes_max = 0
        self.last_sequence = 0
        self.synced_sequence = 0
        self.dropped_points = 0

    def append(self, payload: bytes, *, points: int = 0) -> int:
        """Write a batch and return its sequence. With durability ALWAYS it is durable at once, unless the disk fails at
        that, which `synced_sequence` tells.

        Raises SpoolFull, and OSError for any other failure to write; then the batch is not there, and its sequence is
        the next one's.
        """
        record = segments.encode_record(Record(self.last_sequence + 1, points, payload))
        series = self._series[POINTS if points else CONTROL]
        while not self._is_written(series, record):
            self._make_room()
        self.last_sequence += 1
        if self._limits.durability is Durability.ALWAYS:
            with contextlib.suppress(OSError):
                self.sync()
        return self.last_sequence

    def sync(self) -> None:
        """Make everything written so far durable, batches of no points first. Raises OSError."""
        for series in self._series.values():
            while series.unsynced:
                # One that is gone was acknowledged or dropped.
                with contextlib.suppress(FileNotFoundError):
                    self._files.sync(series.unsynced[0])
                del series.unsynced[0]
        self.synced_sequence = self.last_sequence

    def _is_written(self, series: _Series, record: bytes) -> bool:
        """Append a record, or leave no trace of it and return False if there is no room."""
        if not self._is_within_bound(len(record) + segments.HEADER_BYTES):
            return False
        if series.segment is not None and series.size + len(record) > self._limits.segment_bytes:
            self._files.release(series.segment)
            series.segment = None
        try:
            self._begin(series)
            assert series.segment
            self._files.append(series.segment, record)
        except OSError as error:
            self._undo(series)
            if error.errno in FULL:
                return False
            raise
        series.size += len(record)
        self._used_bytes_max += len(record)
        if series.segment not in series.unsynced[-1:]:
            series.unsynced.append(series.segment)
        return True

    def _begin(self, series: _Series) -> None:
        if series.segment is None:
            header = Header(self._session_id, self._epoch, self.last_sequence + 1)
            self._segment_count += 1
            series.segment = _segment_name(series.name, header.first_sequence, self._segment_count)
            series.size = 0
            self._files.append(series.segment, segments.encode_header(header))
            series.size = segments.HEADER_BYTES
            self._used_bytes_max += segments.HEADER_BYTES

    def _undo(self, series: _Series) -> None:
        """Cut off what a failed append has left. If even that fails, the segment ends there, and readers see that."""
        assert series.segment
        try:
            if series.size > segments.HEADER_BYTES:
                self._files.truncate(series.segment, series.size)
            else:
                self._files.remove(series.segment)
                series.segment = None
        except OSError:
            series.segment = None

    def _make_room(self) -> None:
        """Remove the oldest segment of points. Raises SpoolFull if the policy forbids it or there is none."""
        if self._limits.on_full is not OnFull.DROP_OLDEST_POINTS:
            raise SpoolFull(f"the spool has no room, and its policy is {self._limits.on_full.value}")
        oldest = next(iter(segment_names(self._files, POINTS)), None)
        if oldest is None:
            raise SpoolFull("the spool has no room, and no points that could be dropped")
        dropped = self._unsent_points(oldest)
        if oldest == self._series[POINTS].segment:
            self._series[POINTS].segment = None
        self._files.remove(oldest)
        self.dropped_points += dropped

    def _unsent_points(self, name: str) -> int:
        try:
            data = self._files.read(name, 0, self._files.size(name))
        except FileNotFoundError:
            # The reader was done with it.
            return 0
        acknowledged = self._acknowledged()
        found = segments.records(data, segments.HEADER_BYTES)
        return sum(record.points for record, _ in found if record.sequence > acknowledged)

    def _is_within_bound(self, more: int) -> bool:
        bound = self._limits.spool_bytes_max
        if self._used_bytes_max + more > bound:
            names = [name for series in self._series for name in segment_names(self._files, series)]
            self._used_bytes_max = sum(self._size(name) for name in names)
        return self._used_bytes_max + more <= bound

    def _size(self, name: str) -> int:
        try:
            return self._files.size(name)
        except FileNotFoundError:
            return 0
