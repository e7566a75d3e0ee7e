"""A session on its way to a server under any schedule: streams break at any message, senders die and others take up.

Each seed is one schedule; a failure names its seed.
"""

import contextlib
from collections import deque
from random import Random

import pytest

from modelstead.runs.backlog import Backlog
from modelstead.runs.outbox import Outbox
from modelstead.spool.reader import Reader
from modelstead.spool.writer import Limits, OnFull, SpoolFull, Writer
from modelstead.tracking.v1 import ingest_pb2 as pb
from tests import long_form
from tests.stateful.simulated_disk import SimulatedFiles

SEEDS = long_form.SEEDS if long_form.IS_LONG else 400
_GROUPS = 8
_STEPS_MAX = 150


class _Simulation:
    """A writer, one sender after another, and a server that takes no batch that leaves a gap."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.files = SimulatedFiles(random, capacity=1 << 40)
        self.limits = Limits(
            segment_bytes=random.choice([200, 2000]),
            spool_bytes_max=random.choice([1200, 1 << 30]),
            on_full=OnFull.DROP_OLDEST_POINTS,
        )
        self.writer = Writer(
            self.files, session_id=bytes(16), epoch=1, limits=self.limits, acknowledged=lambda: self.saved
        )
        self.backlog = Backlog()
        self.written: dict[int, str] = {}
        self.stored: dict[int, str] = {}
        # What the server has of the session, and what the sender has noted on the disk.
        self.mark = self.saved = 0
        self.window_bytes = random.choice([1, 100, 10_000])
        self.request_bytes_max = random.choice([0, 150, 10_000])
        self.requests: deque[pb.Batch] = deque()
        self.responses: deque[int] = deque()
        self._take_up()

    def run(self) -> None:
        steps = [self._write, self._write, self._send, self._send, self._serve, self._serve, self._hear, self._hear]
        rare = [self._cut, self._take_up]
        for _ in range(self.random.randint(1, _STEPS_MAX)):
            step = self.random.choice(rare) if self.random.random() < 0.08 else self.random.choice(steps)
            step()
        self._cut()
        while not self.outbox.is_empty():
            self._send()
            self._serve()
            self._hear()
        assert self.outbox.acknowledged_sequence == self.mark
        missing = {number for number in self.written if number not in self.stored and number <= self.mark}
        assert not missing
        lost = [number for number, text in self.written.items() if self.stored.get(number) != text]
        assert len(lost) <= self.writer.dropped_points, "lost without being counted"
        assert all(self.written[number].startswith("points") for number in lost), "what is never dropped is lost"

    def _write(self) -> None:
        points = self.random.choice([0, 1])
        number = self.writer.last_sequence + 1
        text = f"{'points' if points else 'control'} {number} {'x' * self.random.randint(0, 90)}"
        with contextlib.suppress(SpoolFull):
            sequence = self.writer.append(pb.Batch(run_id=text).SerializeToString(), points=points)
            self.written[sequence] = text
            self.backlog.add(sequence, points, now_s=0.0)

    def _send(self) -> None:
        batches = self.outbox.next()
        assert len(batches) <= 1 or sum(batch.ByteSize() for batch in batches) <= self.request_bytes_max
        for batch in batches:
            is_filler = batch.run_id != self.written[batch.sequence]
            self.requests.append(pb.Batch(sequence=batch.sequence, run_id="" if is_filler else batch.run_id))
            size = sum(len(self.written[one.sequence]) for one in self.requests)
            assert len(self.requests) == 1 or size <= self.window_bytes * 2 + 200

    def _serve(self) -> None:
        if self.requests:
            batch = self.requests.popleft()
            assert batch.sequence <= self.mark + 1, "a batch leaves a gap"
            if batch.sequence == self.mark + 1:
                self.mark += 1
                self.stored[batch.sequence] = batch.run_id
            self.responses.append(self.mark)

    def _hear(self) -> None:
        if self.responses:
            acknowledged = self.responses.popleft()
            self.outbox.acknowledge(acknowledged)
            names = self.reader.removable(self.outbox.acknowledged_sequence)
            if names:
                self.saved = self.outbox.acknowledged_sequence
            self.reader.remove(names)

    def _cut(self) -> None:
        """Break the stream; what is under way is lost, or taken in by the server although nobody hears of it."""
        for _ in range(self.random.randint(0, len(self.requests))):
            self._serve()
        self.requests.clear()
        self.responses.clear()
        self.outbox.open(
            acknowledged=self.mark, window_bytes=self.window_bytes, request_bytes_max=self.request_bytes_max
        )

    def _take_up(self) -> None:
        """Another sender goes on, which knows what is on the disk, and at most how far it goes."""
        self.reader = Reader(self.files)
        backlog = self.random.choice([None, self.backlog])
        self.outbox = Outbox(self.reader, acknowledged=self.saved, backlog=backlog)
        self._cut()


@pytest.mark.parametrize("group", range(_GROUPS))
def test_every_batch_is_stored_once_and_in_order_under_any_schedule(group: int) -> None:
    for seed in range(group, SEEDS, _GROUPS):
        try:
            _Simulation(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
