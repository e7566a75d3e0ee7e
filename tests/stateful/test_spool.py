"""A spool under any schedule: what was written is read, once and in order, whatever the disk and the process do.

Each seed is one schedule; a failure names its seed.
"""

from dataclasses import dataclass, field
from random import Random

import pytest

from modelstead.spool import segments
from modelstead.spool.reader import Reader, recover
from modelstead.spool.segments import Record
from modelstead.spool.writer import Limits, OnFull, SpoolFull, Writer
from tests import long_form
from tests.stateful.simulated_disk import Killed, SimulatedFiles

SEEDS = long_form.SEEDS if long_form.IS_LONG else 400
_GROUPS = 8
_STEPS_MAX = 120
_SESSION = bytes(range(16))


@dataclass
class _Simulation:
    """A writer and a reader of one session, and an oracle that knows what was written."""

    seed: int
    written: dict[int, Record] = field(default_factory=dict)
    acknowledged: int = 0

    def __post_init__(self) -> None:
        self.random = random = Random(self.seed)
        self.files = SimulatedFiles(
            random,
            capacity=random.choice([900, 3000, 1 << 40]),
            kill_chance=random.choice([0, 0, 0.01]),
            failure_chance=random.choice([0, 0.1]),
        )
        self.limits = Limits(
            segment_bytes=random.choice([200, 500, 5000]),
            spool_bytes_max=random.choice([1500, 1 << 30]),
            on_full=random.choice(list(OnFull)),
        )
        self.writer = Writer(
            self.files, session_id=_SESSION, epoch=1, limits=self.limits, acknowledged=lambda: self.acknowledged
        )
        self.reader = Reader(self.files)

    def run(self) -> None:
        """Take steps until the process ends, in the middle of one or after the last, and check what it leaves."""
        steps = [self._write, self._write, self._write, self._read, self._sync, self._acknowledge]
        under_way: list[Record] = []
        try:
            for _ in range(self.random.randint(1, _STEPS_MAX)):
                step = self.random.choice(steps)
                step(under_way)
                assert self.files.used <= self.limits.spool_bytes_max + segments.HEADER_BYTES * 2
        except Killed:
            pass
        self.files.heal()
        is_power_cut = self.random.random() < 0.5
        if is_power_cut:
            self.files.cut_power()
        recover(self.files)
        self._check(is_power_cut=is_power_cut, under_way=under_way)

    def _write(self, under_way: list[Record]) -> None:
        points = self.random.choice([0, 1, 7])
        payload = self.random.randbytes(self.random.randint(0, 150))
        record = Record(self.writer.last_sequence + 1, points, payload)
        under_way[:] = [record]
        try:
            sequence = self.writer.append(payload, points=points)
        except (SpoolFull, OSError):
            under_way.clear()
            return
        under_way.clear()
        assert sequence == record.sequence
        self.written[sequence] = record

    def _read(self, under_way: list[Record]) -> None:
        for _ in range(self.random.randint(1, 5)):
            before = self.reader.position
            self.files.meanwhile = lambda: self._write(under_way)
            record = self.reader.read()
            self.files.meanwhile = None
            if record is None:
                return
            assert record.sequence > before
            assert self.written[record.sequence] == record
            assert not [n for n in range(before + 1, record.sequence) if self.written[n].points == 0], "passed control"

    def _sync(self, _: list[Record]) -> None:
        try:
            self.writer.sync()
        except OSError:
            return
        assert self.writer.synced_sequence == self.writer.last_sequence

    def _acknowledge(self, _: list[Record]) -> None:
        self.acknowledged = self.random.randint(self.acknowledged, max(self.acknowledged, self.reader.position))
        self.reader.remove(self.reader.removable(self.acknowledged))

    def _check(self, *, is_power_cut: bool, under_way: list[Record]) -> None:
        kept = self.written | {record.sequence: record for record in under_way}
        found = _read_all(self.files, self.acknowledged)
        assert [record.sequence for record in found] == sorted({record.sequence for record in found})
        for record in found:
            assert kept[record.sequence] == record, "something else was read than was written"
        sequences = {record.sequence for record in found}
        promised = self.writer.synced_sequence if is_power_cut else self.writer.last_sequence
        missing = [
            record
            for record in self.written.values()
            if self.acknowledged < record.sequence <= promised and record.sequence not in sequences
        ]
        assert all(record.points for record in missing), "what is never dropped is missing"
        assert sum(record.points for record in missing) <= self.writer.dropped_points, "lost without being counted"
        if self.limits.on_full is not OnFull.DROP_OLDEST_POINTS:
            assert not missing


def _read_all(files: SimulatedFiles, after: int) -> list[Record]:
    reader = Reader(files)
    reader.seek(after)
    found = []
    while record := reader.read():
        found.append(record)
    return found


@pytest.mark.parametrize("group", range(_GROUPS))
def test_what_was_written_is_read_under_any_schedule(group: int) -> None:
    for seed in range(group, SEEDS, _GROUPS):
        try:
            _Simulation(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
