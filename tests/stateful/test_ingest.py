"""Sessions in a seeded simulation: whatever is lost, doubled or comes late, each batch is stored once and in order.

The servers are the pure core of tracking (services/tracking/ingest/model.py) over a database that is a dict; the
network and the crashes are drawn from a seed, which a failure prints.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from services.common.errors import Conflict
from services.tracking.ingest import model
from services.tracking.ingest.model import Mark, Session, Verdict
from tests import long_form

SEEDS = long_form.SEEDS if long_form.IS_LONG else 2000
_BATCHES = 12
_CRASHING_TURNS = 300
_TURNS_MAX = 4000

Judge = Callable[[Mark, Session, int], tuple[Verdict, Mark]]


@dataclass
class Server:
    """What is committed: the session's mark, and the batches that were stored, with the process that wrote each."""

    judge: Judge
    mark: Mark = field(default_factory=lambda: Mark(0, 0))
    stored: list[tuple[int, int]] = field(default_factory=list)

    def open(self, session: Session, acknowledged: int) -> int:
        """Raises Conflict."""
        model.check_epoch(self.mark, session)
        self.mark = Mark(session.epoch, max(self.mark.sequence, acknowledged))
        return self.mark.sequence

    def commit(self, session: Session, sequence: int) -> int:
        """Return what is acknowledged. Raises Conflict."""
        verdict, self.mark = self.judge(self.mark, session, sequence)
        if verdict is Verdict.NEXT:
            self.stored.append((sequence, session.epoch))
        return sequence


class Process:
    """A client process with the spool: it sends what it does not know to be acknowledged, in order."""

    def __init__(self, epoch: int) -> None:
        self.session = Session("0" * 32, epoch)
        self.acknowledged = 0
        self.next: int | None = None
        self.is_over = False


class World:
    """One simulation: a spool of batches, processes that take it up in turn, and messages in any order between streams.

    Messages of one stream keep their order; those of a stream that was given up may still arrive, at any time.
    """

    def __init__(self, seed: int, judge: Judge) -> None:
        self.random = random.Random(seed)
        self.server = Server(judge)
        self.processes = [Process(1)]
        self.streams: list[tuple[Process, list[int]]] = []

    def run(self) -> None:
        """Go on until the newest process knows that all is acknowledged."""
        for turn in range(_TURNS_MAX):
            # Whatever came before, once processes cease to crash the last one gets through.
            self._turn(self.random.random(), may_crash=turn < _CRASHING_TURNS)
            if self.processes[-1].acknowledged == _BATCHES:
                return
        raise AssertionError("the client got nowhere")

    def _turn(self, dice: float, *, may_crash: bool) -> None:
        if may_crash and dice < 0.03:
            # A crash, or a second process that believes the spool is its own.
            self.processes.append(Process(self.processes[-1].session.epoch + 1))
        elif dice < 0.45:
            self._send(self.random.choice([self.processes[-1], self.random.choice(self.processes)]))
        elif under_way := [stream for stream in self.streams if stream[1]]:
            self._deliver(self.random.choice(under_way))

    def _send(self, process: Process) -> None:
        if process.is_over:
            return
        if process.next is None or self.random.random() < 0.05:
            self._open(process)
            return
        if process.next <= _BATCHES:
            next(queue for owner, queue in reversed(self.streams) if owner is process).append(process.next)
            process.next += 1

    def _open(self, process: Process) -> None:
        try:
            resumed = self.server.open(process.session, process.acknowledged)
        except Conflict:
            process.is_over = True
            return
        if self.random.random() < 0.8:
            # Else the answer is lost, and the process opens again.
            process.acknowledged = max(process.acknowledged, resumed)
            # A careless client sends again some that it need not.
            process.next = max(1, resumed + 1 - self.random.randrange(3))
            self.streams.append((process, []))

    def _deliver(self, stream: tuple[Process, list[int]]) -> None:
        process, queue = stream
        sequence = queue.pop(0)
        fate = self.random.random()
        if fate < 0.05:
            # Cut before the commit: what follows on this stream is lost as well.
            queue.clear()
            process.next = None
            return
        try:
            acknowledged = self.server.commit(process.session, sequence)
        except Conflict:
            queue.clear()
            process.next = None
            return
        if fate < 0.2:
            # The answer is lost after the commit.
            process.next = None
        else:
            process.acknowledged = max(process.acknowledged, acknowledged)


def _violation(seed: int, judge: Judge) -> str:
    world = World(seed, judge)
    try:
        world.run()
    except AssertionError as error:
        return str(error)
    numbers = [sequence for sequence, _ in world.server.stored]
    epochs = [epoch for _, epoch in world.server.stored]
    if numbers != list(range(1, _BATCHES + 1)):
        return f"stored {numbers}"
    return "" if epochs == sorted(epochs) else f"an older process wrote after a newer one: {world.server.stored}"


def test_each_batch_is_stored_once_and_in_order_under_any_schedule() -> None:
    violations = {seed: violation for seed in range(SEEDS) if (violation := _violation(seed, model.judge))}

    assert not violations, f"seeds {violations}"


def _takes_gaps(mark: Mark, session: Session, sequence: int) -> tuple[Verdict, Mark]:
    if sequence <= mark.sequence:
        return Verdict.KNOWN, mark
    return Verdict.NEXT, Mark(session.epoch, sequence)


def _forgets(mark: Mark, session: Session, sequence: int) -> tuple[Verdict, Mark]:
    model.check_epoch(mark, session)
    return Verdict.NEXT, Mark(session.epoch, sequence)


def _ignores_epochs(mark: Mark, session: Session, sequence: int) -> tuple[Verdict, Mark]:
    return model.judge(mark, Session(session.session_id, 2**62), sequence)[0], Mark(
        mark.epoch, max(mark.sequence, sequence)
    )


@pytest.mark.parametrize("judge", [_takes_gaps, _forgets, _ignores_epochs])
def test_simulation_finds_what_is_wrong(judge: Judge) -> None:
    assert any(_violation(seed, judge) for seed in range(200))
