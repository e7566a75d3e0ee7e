"""The ranks of a distributed run: what becomes of one, when it is believed to be gone, and how they end the run.

A rank that starts the run joins it, and leaves it with an end. Meanwhile it is heard of; if not for 18 s, it is lost,
and back as soon as it is heard of again. The run follows its ranks: it runs while one of them does, and else ends as
they did. Ranks that only log to a run which somebody else starts and ends have the same states, and decide nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from services.common.errors import InvalidArgument
from services.tracking.run_logs.model import check_run_id

RUNNING, FINISHED, FAILED, KILLED, LOST = "RUNNING", "FINISHED", "FAILED", "KILLED", "LOST"

WORLD_SIZE_MAX = 1_000_000
NODE_LENGTH_MAX = 256
HEARTBEAT_RUNS_MAX = 100
PAGE_SIZE_MAX = 10_000
STRAGGLERS_MAX = 1000
STEPS_BEHIND_DEFAULT = 10

HEARTBEAT_S = 2.0
# How often what is heard is written, and who is not heard of is looked for.
PERIOD_MS = 4_000
# What is written may be a heartbeat and a period old; the rest is for stalls, of a client or of a server.
LEASE_MS = 18_000
# By less than that the clocks of replicas differ.
_CLOCKS_MS = 3_000

# The tag that says why a run has failed whose ranks did not say it themselves.
FAILURE_TAG = "modelstead.failure"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """Which process of a job; `local_rank` is its number on the node, if that is known."""

    rank: int
    world_size: int
    node: str
    local_rank: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RankState:
    """A rank of a run. Times are milliseconds since the Unix epoch, `end_timestamp` by the client's clock.

    `last_step` and `last_point_timestamp` are the greatest that it has logged. `has_started`: it began the run.
    """

    rank: int
    world_size: int
    node: str
    local_rank: int | None
    state: str
    has_started: bool
    join_timestamp: int
    last_seen_timestamp: int
    end_timestamp: int | None = None
    last_step: int | None = None
    last_point_timestamp: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A rank of a run as it is told: `steps_behind` the median of the running ones."""

    rank: int
    world_size: int
    node: str
    local_rank: int | None
    state: str
    join_timestamp: int
    last_seen_timestamp: int
    last_step: int | None
    last_point_timestamp: int | None
    steps_behind: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A rank starts a run (`state` is RUNNING) or ends its part of it, at a time of its own clock."""

    run_id: str
    rank: Rank
    state: str
    end_timestamp: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What was heard of a rank: when it lived, if it said so, and the greatest step and timestamp of what it logged."""

    rank: Rank
    heard_timestamp: int | None = None
    step: int | None = None
    point_timestamp: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """The ranks that have started a run, counted by state; of those that do not run, only those of the present world.

    An elastic job that goes on with fewer ranks leaves the others behind: the world is as large as the rank that joined
    last says. `end_time` is when the last of them ended, or was last heard of.
    """

    running: int
    finished: int
    failed: int
    killed: int
    lost: int
    end_time: int
    last_step: int | None

    @property
    def total(self) -> int:
        return self.running + self.finished + self.failed + self.killed + self.lost


@dataclass(frozen=True, slots=True)
class Watch:
    """When a replica last wrote what it had heard, and since when it may find ranks to be lost."""

    worked: int = 0
    may_lose_from: int = 0


def watched(watch: Watch, *, now: int) -> Watch:
    """Return the watch of a replica that has just written what it had heard.

    Nobody is lost within a lease after a time in which nothing could be written, such as before a start: those who live
    must be heard of first, by this replica and by others.
    """
    has_paused = now - watch.worked > 3 * PERIOD_MS
    return Watch(now, now + LEASE_MS if has_paused else watch.may_lose_from)


def moved(known: RankState | None, move: Move, *, now: int) -> RankState:
    """Return a rank after it has started a run or ended its part."""
    begins = move.state == RUNNING
    before = known or _new(move.rank, now)
    return replace(
        before,
        **_identity(move.rank) if begins else {},
        state=move.state,
        has_started=before.has_started or begins,
        join_timestamp=now if begins else before.join_timestamp,
        last_seen_timestamp=max(now, before.last_seen_timestamp),
        end_timestamp=move.end_timestamp,
    )


def noted(known: RankState | None, seen: Seen) -> RankState | None:
    """Return a rank after it was heard of, or has logged; None if it is none of the run's.

    What was heard before its end, or before something newer, does not bring it back. What it logged does not either: a
    process that is gone may have left it.
    """
    if known is None:
        if seen.heard_timestamp is None:
            return None
        known = _new(seen.rank, seen.heard_timestamp)
    state = replace(
        known,
        last_step=_greater(known.last_step, seen.step),
        last_point_timestamp=_greater(known.last_point_timestamp, seen.point_timestamp),
    )
    # What another replica heard before the end may be later by its clock. Who starts anew says so.
    leeway_ms = _CLOCKS_MS if known.state in (FINISHED, FAILED, KILLED) else 0
    if seen.heard_timestamp is None or seen.heard_timestamp <= known.last_seen_timestamp + leeway_ms:
        return state
    return replace(state, state=RUNNING, last_seen_timestamp=seen.heard_timestamp, end_timestamp=None)


def is_lost(rank: RankState, *, now: int) -> bool:
    """Tell whether a rank that runs has not been heard of for too long."""
    return rank.state == RUNNING and rank.last_seen_timestamp < lost_before(now)


def lost_before(now: int) -> int:
    """Return the time since which a rank that runs was heard of."""
    return now - LEASE_MS


def tally(ranks: Collection[RankState]) -> Tally | None:
    """Count the ranks that have started a run; None if none has."""
    starters = [rank for rank in ranks if rank.has_started]
    if not starters:
        return None
    newest = max(starters, key=lambda rank: (rank.join_timestamp, -rank.rank))
    counted = [rank for rank in starters if rank.state == RUNNING or rank.rank < newest.world_size]
    steps = [rank.last_step for rank in starters if rank.last_step is not None]

    def count(state: str) -> int:
        return sum(rank.state == state for rank in counted)

    return Tally(
        running=count(RUNNING),
        finished=count(FINISHED),
        failed=count(FAILED),
        killed=count(KILLED),
        lost=count(LOST),
        end_time=max(
            rank.last_seen_timestamp if rank.end_timestamp is None else rank.end_timestamp for rank in counted
        ),
        last_step=max(steps, default=None),
    )


def ending(ranks: Tally) -> tuple[str, int | None]:
    """Return the status of a run that follows its ranks, and when it ended; None while it runs."""
    if ranks.running:
        return RUNNING, None
    if ranks.failed or ranks.lost:
        return FAILED, ranks.end_time
    return KILLED if ranks.killed else FINISHED, ranks.end_time


def failure(ranks: Tally) -> str | None:
    """Return why a run has failed if no rank could say so; None if it has not failed, or by what they said alone."""
    if ranks.running or not ranks.lost:
        return None
    step = "no step was logged" if ranks.last_step is None else f"the last step is {ranks.last_step}"
    return f"{ranks.lost} of {ranks.total} ranks were lost; {step}"


def rank(message: Rank) -> Rank:
    """Return which process of a job a message names. Raises InvalidArgument."""
    _check_number("session.rank.world_size", message.world_size, least=1, most=WORLD_SIZE_MAX)
    _check_number("session.rank.rank", message.rank, least=0, most=message.world_size - 1)
    if message.local_rank is not None:
        _check_number("session.rank.local_rank", message.local_rank, least=0, most=WORLD_SIZE_MAX)
    if len(message.node) > NODE_LENGTH_MAX or "\0" in message.node:
        raise InvalidArgument(
            f"Invalid value '{message.node[:100]}' for parameter 'session.rank.node' supplied: at most "
            f"{NODE_LENGTH_MAX} characters, none of them NUL."
        )
    return message


def check_heartbeat(sender: Rank | None, run_ids: Collection[str]) -> Rank:
    """Return the rank that says that it lives. Raises InvalidArgument."""
    if sender is None:
        raise InvalidArgument("Missing value for required parameter 'open.rank': only ranks send heartbeats.")
    if len(run_ids) > HEARTBEAT_RUNS_MAX:
        raise InvalidArgument(f"A heartbeat can name at most {HEARTBEAT_RUNS_MAX} runs. Got {len(run_ids)} runs.")
    for run_id in run_ids:
        check_run_id(run_id)
    return sender


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 10,000."""
    _check_number("max_results", max_results, least=1, most=PAGE_SIZE_MAX)


def check_behind(*, steps: int | None, ms: int | None) -> int | None:
    """Return by how many steps a straggler is behind, None if steps do not count. Raises InvalidArgument."""
    for name, given in (("min_steps_behind", steps), ("min_ms_behind", ms)):
        if given is not None:
            _check_number(name, given, least=1, most=2**63 - 1)
    return STEPS_BEHIND_DEFAULT if steps is None and ms is None else steps


def joined(moves: Iterable[Move]) -> list[str]:
    """Return the runs that a rank starts, each once."""
    return sorted({move.run_id for move in moves if move.state == RUNNING})


def _new(rank: Rank, now: int) -> RankState:
    return RankState(**_identity(rank), state=RUNNING, has_started=False, join_timestamp=now, last_seen_timestamp=now)


def _identity(rank: Rank) -> dict[str, Any]:
    return {name: getattr(rank, name) for name in Rank.__slots__}


def _greater(known: int | None, new: int | None) -> int | None:
    return new if known is None else known if new is None else max(known, new)


def _check_number(name: str, value: int, *, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"Invalid value {value} for parameter '{name}' supplied. It must be {least} to {most}.")
