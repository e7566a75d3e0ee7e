"""What is sent next in a session, and what an acknowledgement means. Knows neither gRPC nor time."""

from collections import deque
from dataclasses import dataclass

from modelstead.runs.backlog import Backlog
from modelstead.spool.reader import Reader
from modelstead.spool.segments import Record
from modelstead.tracking.v1 import ingest_pb2 as pb

# Of a batch as it is sent, what is not in the spool: its sequence, and as an element of a request its own length.
_SEQUENCE_BYTES_MAX = 24
# As many as a server takes in a request, however small.
BATCHES_MAX = 256


@dataclass(frozen=True, slots=True)
class _Sent:
    sequence: int
    size: int
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsent:
    """What the server has not acknowledged, and where it is."""

    batches: int
    path: str
    trouble: str


class Outbox:
    """The batches of a spool on their way through one stream after another.

    A sequence that the spool does not have any more is sent as a batch of nothing, as the server takes none that skips
    one; `missing_count` counts them. `acknowledged_sequence` never goes back.
    """

    def __init__(self, reader: Reader, *, acknowledged: int, backlog: Backlog | None = None) -> None:
        """`backlog` is that of the writer, if it is in this process: what it does not know of is not looked for."""
        self._reader = reader
        self._under_way: deque[_Sent] = deque()
        self._under_way_bytes = 0
        self._window_bytes = self._request_bytes_max = 0
        self._next_sequence = 0
        self.acknowledged_sequence = acknowledged
        self.missing_count = 0
        self._backlog = backlog

    def open(self, *, acknowledged: int, window_bytes: int, request_bytes_max: int = 0) -> None:
        """Begin a stream, on which the server goes on after the sequence that it says. A request may have several
        batches of `request_bytes_max` together.
        """
        self._reader.seek(acknowledged)
        self._under_way.clear()
        self._under_way_bytes = 0
        self._window_bytes = window_bytes
        self._request_bytes_max = request_bytes_max
        self._next_sequence = acknowledged + 1
        self.acknowledged_sequence = max(self.acknowledged_sequence, acknowledged)

    def next(self) -> list[pb.Batch]:
        """Return the batches of the next request; none if there are none, or what is under way fills the window."""
        batches = list[pb.Batch]()
        left = self._request_bytes_max
        while len(batches) < BATCHES_MAX and (record := self._peek()) is not None and self._has_room(record):
            left -= len(record.payload) + _SEQUENCE_BYTES_MAX
            if batches and left < 0:
                break
            batches.append(self._send(record))
        return batches

    @property
    def sent_sequence(self) -> int:
        """The batch that was sent last."""
        return self._next_sequence - 1

    @property
    def is_under_way(self) -> bool:
        """Whether an acknowledgement is awaited."""
        return bool(self._under_way)

    def payload(self, sequence: int) -> bytes | None:
        """Return the batch that is under way as a sequence, without it; None if there is none."""
        place = sequence - self._under_way[0].sequence if self._under_way else -1
        return self._under_way[place].payload if 0 <= place < len(self._under_way) else None

    def acknowledge(self, sequence: int) -> None:
        """Take an acknowledgement of every batch up to a sequence."""
        while self._under_way and self._under_way[0].sequence <= sequence:
            self._under_way_bytes -= self._under_way.popleft().size
        self.acknowledged_sequence = max(self.acknowledged_sequence, sequence)

    def is_empty(self) -> bool:
        """Whether nothing waits, neither to be sent nor to be acknowledged."""
        return not self._under_way and self.has_sent_all()

    def has_sent_all(self) -> bool:
        """Whether nothing waits to be sent."""
        return self._peek() is None

    def _send(self, record: Record) -> pb.Batch:
        payload = record.payload
        batch = pb.Batch.FromString(payload)
        if record.sequence > self._next_sequence:
            batch = pb.Batch(run_id=batch.run_id)
            payload = batch.SerializeToString()
            self.missing_count += 1
        else:
            self._reader.read()
        batch.sequence = self._next_sequence
        self._next_sequence += 1
        size = batch.ByteSize()
        self._under_way.append(_Sent(batch.sequence, size, payload))
        self._under_way_bytes += size
        return batch

    def _peek(self) -> Record | None:
        # A look at the disk takes far longer than the rest, and there is one for each batch and each acknowledgement.
        if self._backlog is not None and self._reader.position >= self._backlog.newest_sequence:
            return None
        return self._reader.peek()

    def _has_room(self, record: Record) -> bool:
        # One batch may always go, or one that is larger than the window never would.
        return not self._under_way or self._under_way_bytes + len(record.payload) <= self._window_bytes
