"""Reads a spool in the order of its sequences, also while it is written, by this process or another, and removes what
was acknowledged.
"""

from collections import deque
from itertools import pairwise

from modelstead.spool import segments
from modelstead.spool.files import Files
from modelstead.spool.segments import Record
from modelstead.spool.writer import CONTROL, POINTS, first_sequence, segment_names

_READ_BYTES = 1024 * 1024
_RECORD_BYTES_MAX = segments.RECORD_BYTES + segments.PAYLOAD_BYTES_MAX


class Reader:
    """Yields the records after a sequence. A sequence that is not there was dropped, or lost with a damaged segment.

    `damage` tells, once each, which bytes of which segment could not be read.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self.damage: list[str] = []
        self.seek(0)

    def seek(self, after: int) -> None:
        """Go on with the first record after a sequence."""
        self.position = after
        self._control = _Series(self._files, CONTROL, after, self.damage)
        self._points = _Series(self._files, POINTS, after, self.damage)

    def peek(self) -> Record | None:
        """Return the next record and stay before it; None if there is none yet."""
        series = self._next()
        return series.peek() if series else None

    def read(self) -> Record | None:
        """Return the next record and go on; None if there is none yet."""
        series = self._next()
        record = series.take() if series else None
        if record:
            self.position = record.sequence
        return record

    def removable(self, acknowledged: int) -> list[str]:
        """Return the segments of which every record is acknowledged, but for those that may still be written."""
        return [
            name
            for series in (CONTROL, POINTS)
            for name, following in pairwise(segment_names(self._files, series))
            if first_sequence(following) <= acknowledged + 1
        ]

    def remove(self, names: list[str]) -> None:
        for name in names:
            self._files.remove(name)

    def _next(self) -> "_Series | None":
        control, points = self._control.peek(), self._points.peek()
        # The writer writes in order. So where the next record is missing from one series, and the other is past it, it
        # is not to be had if it is still missing afterwards.
        if control is None and points is not None and points.sequence > self.position + 1:
            control = self._control.peek()
        if points is None and control is not None and control.sequence > self.position + 1:
            points = self._points.peek()
        if control is None:
            return None if points is None else self._points
        if points is None or control.sequence < points.sequence:
            return self._control
        return self._points


class _Series:
    """The records of one series of segments, in order."""

    def __init__(self, files: Files, series: str, after: int, damage: list[str]) -> None:
        self._files = files
        self._series = series
        self._after = after
        self._damage = damage
        self._segment = ""
        self._offset = 0
        self._records: deque[Record] = deque()

    def peek(self) -> Record | None:
        while not self._records:
            names = [name for name in segment_names(self._files, self._series) if name >= self._segment]
            if not self._segment:
                names = self._from_start(names)
            if not names or not self._advance(names):
                return None
        return self._records[0]

    def take(self) -> Record:
        record = self._records.popleft()
        self._after = record.sequence
        return record

    def _from_start(self, names: list[str]) -> list[str]:
        """Leave out the segments that end before the first record that is asked for."""
        passed = [name for name, following in pairwise(names) if first_sequence(following) <= self._after + 1]
        return names[len(passed) :]

    def _advance(self, names: list[str]) -> bool:
        """Read on in the segment, or go to the one after it. `names` begins with it, unless it is gone. Returns whether
        there was anything.
        """
        if names[0] != self._segment:
            self._segment, self._offset = names[0], 0
        try:
            if self._read():
                return True
            rest = self._files.size(self._segment) - self._offset
        except FileNotFoundError:
            rest = 0
        # That there is a later segment was seen before this one was read, so nothing comes to this one any more.
        if len(names) == 1:
            return False
        if rest:
            self._damage.append(f"{rest} bytes at {self._offset} of {self._segment} cannot be read")
        self._segment, self._offset = names[1], 0
        return True

    def _read(self) -> bool:
        """Take in the next whole records of the segment. Returns whether there were any."""
        if self._offset == 0:
            try:
                segments.decode_header(self._files.read(self._segment, 0, segments.HEADER_BYTES))
            except segments.SegmentError:
                return False
            self._offset = segments.HEADER_BYTES
        data = self._files.read(self._segment, self._offset, _READ_BYTES)
        found = list(segments.records(data))
        if not found and len(data) == _READ_BYTES:
            data = self._files.read(self._segment, self._offset, _RECORD_BYTES_MAX)
            found = list(segments.records(data))
        for record, _ in found:
            if record.sequence > self._after:
                self._records.append(record)
        self._offset += found[-1][1] if found else 0
        return bool(found)


def recover(files: Files) -> int:
    """Cut off what the writer, which is gone, has left unfinished at the end. Returns how many bytes that were."""
    cut = 0
    for series in (CONTROL, POINTS):
        for name in segment_names(files, series)[-1:]:
            size = files.size(name)
            whole = segments.whole_bytes(files.read(name, 0, size))
            cut += size - whole
            if whole == 0:
                files.remove(name)
            elif whole < size:
                files.truncate(name, whole)
    return cut
