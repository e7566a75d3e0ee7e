"""Ranks in a seeded simulation: whatever dies, is cut off or restarted, who lives is not lost, who is gone is lost
within 30 s, and the run ends as its ranks did.

The replicas are the pure core of tracking (services/tracking/run_ranks) over a database that is a dict.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.tracking.run_ranks import model
from services.tracking.run_ranks.model import FINISHED, LOST, RUNNING, Move, Rank, RankState, Watch
from services.tracking.run_ranks.presence import Presence
from tests import long_form

SEEDS = long_form.SEEDS // 10 if long_form.IS_LONG else 100
_TICK_MS = 500
_TROUBLED_MS = 200_000
_END_MS = 300_000
_PROMISE_MS = 30_000
_RUN = "run"


@dataclass
class Process:
    """A process of the job. What it says of itself is delivered in order and once; heartbeats may be lost."""

    rank: Rank
    outbox: list[Move]
    heartbeat_due: int
    gone_since: int | None = None
    cut_off_until: int = 0
    # What it has said of its end that is committed, or that it was killed.
    fate: str | None = None


@dataclass
class Replica:
    presence: Presence = field(default_factory=Presence)
    watch: Watch = field(default_factory=Watch)


class World:
    """One simulation, of 300 s; in the last 100 s of it nothing new goes wrong."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1_000_000
        self.began = self.now
        self.ranks: dict[int, RankState] = {}
        self.status = RUNNING
        self.replicas = [Replica(), Replica()]
        self.processes: list[Process] = []
        self.database_is_down_until = 0
        self.restarted = 0
        self.world_size = self.random.randint(1, 4)
        for number in range(self.world_size):
            self._start(number)

    def run(self) -> None:
        """Raises AssertionError."""
        while self.now < self.began + _END_MS:
            self.now += _TICK_MS
            if self.now < self.began + _TROUBLED_MS:
                self._trouble()
            for process in self.processes:
                self._speak(process)
            if self.now >= self.database_is_down_until:
                self._serve()
            self._check()
        self._check_end()

    def _start(self, number: int) -> None:
        rank = Rank(rank=number, world_size=self.world_size, node="n", local_rank=None)
        self.processes.append(Process(rank, [Move(run_id=_RUN, rank=rank, state=RUNNING)], self.now))

    def _trouble(self) -> None:
        dice = self.random.random()
        alive = [process for process in self.processes if process.gone_since is None]
        if dice < 0.01 and alive:
            self._kill(self.random.choice(alive))
        elif dice < 0.02 and alive:
            self.random.choice(alive).cut_off_until = self.now + self.random.randint(1_000, 60_000)
        elif dice < 0.025:
            self.database_is_down_until = self.now + self.random.randint(1_000, 60_000)
        elif dice < 0.03 and self.now > self.restarted + _PROMISE_MS:
            # A replica is killed; the other one, or its successor, is found within a while.
            self.restarted = self.now
            self.replicas[self.random.randrange(2)] = Replica()
            for process in self.processes:
                process.heartbeat_due = self.now + 5_000
        elif dice < 0.035:
            self._start_over()
        elif dice < 0.045 and alive:
            process = self.random.choice(alive)
            process.gone_since = self.now
            status = self.random.choice(["FINISHED", "FAILED", "KILLED"])
            process.outbox.append(Move(run_id=_RUN, rank=process.rank, state=status, end_timestamp=self.now))

    def _kill(self, process: Process) -> None:
        process.gone_since, process.fate = self.now, LOST
        # What it has not sent is sent by `modelstead sync`, or never.
        if process.outbox and self.random.random() < 0.5:
            self.processes.remove(process)

    def _start_over(self) -> None:
        """Restart an elastic job, with as many ranks as there are nodes left."""
        for process in list(self.processes):
            if process.gone_since is None:
                self._kill(process)
        self.world_size = self.random.randint(1, 4)
        for number in range(self.world_size):
            self._start(number)

    def _speak(self, process: Process) -> None:
        if self.now < process.cut_off_until:
            return
        has_started = all(move.state != RUNNING for move in process.outbox)
        if process.gone_since is None and has_started and self.now >= process.heartbeat_due:
            process.heartbeat_due = self.now + int(model.HEARTBEAT_S * 1000)
            self.random.choice(self.replicas).presence.heard(process.rank, [_RUN], now=self.now)
        if self.now >= self.database_is_down_until and process.outbox and not self._waits(process):
            self._commit(process, process.outbox.pop(0))

    def _waits(self, process: Process) -> bool:
        """Whether an older process of the same rank still has to say something: the order of two is not tried here."""
        older = self.processes[: self.processes.index(process)]
        return any(other.outbox for other in older if other.rank.rank == process.rank.rank)

    def _commit(self, process: Process, move: Move) -> None:
        number = process.rank.rank
        self.ranks[number] = model.moved(self.ranks.get(number), move, now=self.now)
        if move.state != RUNNING:
            process.fate = move.state
        self._settle()

    def _serve(self) -> None:
        if self.now % model.PERIOD_MS:
            return
        for replica in self.random.sample(self.replicas, 2):
            for (_, number), seen in replica.presence.take().items():
                state = model.noted(self.ranks.get(number), seen)
                if state:
                    self.ranks[number] = state
            replica.watch = model.watched(replica.watch, now=self.now)
            if self.now >= replica.watch.may_lose_from:
                self._lose()
            self._settle()

    def _lose(self) -> None:
        newest = self._newest()
        for number, state in self.ranks.items():
            if model.is_lost(state, now=self.now):
                assert not self._is_heard(newest[number]), f"rank {number} lives and is lost at {self.now - self.began}"
                self.ranks[number] = RankState(**_fields(state) | {"state": LOST})

    def _settle(self) -> None:
        tally = model.tally(list(self.ranks.values()))
        if tally:
            self.status = model.ending(tally)[0]

    def _newest(self) -> dict[int, Process]:
        """Return the newest process of each rank that the server knows to have started."""
        return {
            process.rank.rank: process
            for process in self.processes
            if not any(move.state == RUNNING for move in process.outbox)
        }

    def _check(self) -> None:
        # With the database away nothing changes; afterwards there is as much time again.
        is_calm = self.now >= self.database_is_down_until + _PROMISE_MS
        for number, process in self._newest().items():
            state = self.ranks[number].state if number in self.ranks else ""
            if is_calm and self._is_heard(process):
                assert state == RUNNING, f"rank {number} lives and is {state} at {self.now - self.began}"
            if is_calm and process.fate == LOST and process.gone_since is not None:
                # What it has left may be sent late.
                since = max(process.gone_since, process.cut_off_until, self.ranks[number].join_timestamp)
                is_due = self.now - since > _PROMISE_MS and not self._was_restarted
                assert state != RUNNING or not is_due, f"rank {number} is gone and runs at {self.now - self.began}"

    def _is_heard(self, process: Process) -> bool:
        """Whether it lives and could say so for 10 s. A restart is no interruption, unless there has just been one."""
        since = process.cut_off_until
        if since <= self.restarted < since + 10_000:
            since = self.restarted
        return process.gone_since is None and self.now >= since + 10_000

    @property
    def _was_restarted(self) -> bool:
        return any(self.now < replica.watch.may_lose_from + model.PERIOD_MS for replica in self.replicas)

    def _check_end(self) -> None:
        newest = self._newest()
        starters = {number: process for number, process in newest.items() if number in self.ranks}
        if not starters:
            return
        fates = {number: process.fate or RUNNING for number, process in starters.items()}
        assert {number: self.ranks[number].state for number in fates} == fates
        last = max(starters.values(), key=lambda process: self.ranks[process.rank.rank].join_timestamp)
        counted = {fate for number, fate in fates.items() if number < last.rank.world_size}
        order = (RUNNING, LOST, "FAILED", "KILLED", FINISHED)
        worst = min(counted | ({RUNNING} & set(fates.values())), key=order.index)
        assert self.status == ("FAILED" if worst == LOST else worst)


def _violation(seed: int) -> str:
    try:
        World(seed).run()
    except AssertionError as error:
        return str(error) or "wrong"
    return ""


def test_ranks_and_their_run_are_what_they_are_said_to_be_under_any_schedule() -> None:
    violations = {seed: violation for seed in range(SEEDS) if (violation := _violation(seed))}

    assert not violations, f"seeds {violations}"


def _revives_whoever_was_heard(known: RankState | None, seen: Any) -> RankState | None:
    return _NOTED(known and RankState(**_fields(known) | {"last_seen_timestamp": 0}), seen)


def _never_pauses(watch: Watch, *, now: int) -> Watch:
    return Watch(now, 0)


def _forgets_the_world(ranks: Any) -> Any:
    return _TALLY([RankState(**_fields(rank) | {"world_size": 9}) for rank in ranks])


def _fields(rank: RankState) -> dict[str, Any]:
    return {name: getattr(rank, name) for name in RankState.__slots__}


_NOTED, _TALLY = model.noted, model.tally


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("noted", _revives_whoever_was_heard),
        ("watched", _never_pauses),
        ("tally", _forgets_the_world),
        ("LEASE_MS", 5_000),
        ("LEASE_MS", 40_000),
    ],
)
def test_simulation_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable[..., Any]) -> None:
    monkeypatch.setattr(model, name, wrong)

    assert any(_violation(seed) for seed in range(100))
