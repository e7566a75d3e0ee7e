"""Commits what concurrent calls bring in few transactions: one round to the disk serves many callers."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from opentelemetry.trace import Span
from prometheus_client import Histogram

from services.common import tracing
from services.common.errors import ResourceExhausted, ServiceError
from services.common.fair_queue import FairQueue

ItemT = TypeVar("ItemT")
Outcome = ServiceError | None

# After a group of several, the next one is awaited: until it is as large, until nobody came for so long, or until
# somebody has waited for so long.
GAP_S = 0.005
LINGER_S = 0.010

_ACK_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

ACK_SECONDS = Histogram(
    "modelstead_ack_seconds", "Time from the arrival of what is committed in groups to its commit.", ["what"],
    buckets=_ACK_BUCKETS_S,
)  # fmt: skip
GROUP_SIZE = Histogram(
    "modelstead_commit_group_size", "How many callers' writes one commit has stored.", ["what"], buckets=_SIZE_BUCKETS
)


@dataclass(slots=True)
class _Waiting(Generic[ItemT]):
    """An item, what is done once it is committed, when it came and whose span it is of."""

    item: ItemT
    done: "asyncio.Future[None]"
    came_s: float
    span: Span | None


class GroupCommit(Generic[ItemT]):
    """Hands waiting items to `commit`, as many at once as have gathered while the group before was committed, and as
    come shortly after: those who were answered together mostly come again together.

    `commit` stores a group in one transaction and returns, for each item, None or the error that only this item
    met; an item that met an error left no trace. An exception of `commit` means that nothing of the group was
    stored: a ServiceError is told to all, anything else makes each item be tried alone, so that one item that
    breaks the transaction takes no other with it. `submit` returns after the commit, never before.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[ItemT]], Awaitable[Sequence[Outcome]]],
        *,
        weight: Callable[[ItemT], int],
        group_weight_max: int,
        waiting_weight_max: int,
        committers: int,
        lane: Callable[[ItemT], Sequence[Hashable]] = lambda item: (),
        what: str = "other",
    ) -> None:
        """`what` tells this one's figures from others', and names the spans of its commits."""
        self._commit = commit
        self._weight = weight
        self._group_weight_max = group_weight_max
        self._waiting_weight_max = waiting_weight_max
        self._lane = lane
        self._what = what
        self._ack_seconds = ACK_SECONDS.labels(what)
        self._group_size = GROUP_SIZE.labels(what)
        self._waiting: FairQueue[_Waiting[ItemT]] = FairQueue()
        self._waiting_weight = 0
        self._gathering: _Gathering | None = None
        self._idle_committers = committers
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting_count(self) -> int:
        """How many items wait for their turn."""
        return len(self._waiting)

    async def submit(self, item: ItemT) -> None:
        """Return once the item is committed. Raises its error, or ResourceExhausted if too much waits already."""
        await self.enqueue(item)

    def enqueue(self, item: ItemT, *, came_s: float | None = None) -> "asyncio.Future[None]":
        """Return what is done once the item is committed, or failed. Raises ResourceExhausted as `submit` does.

        Who cancels it before the item's turn has it not committed. `came_s` is when it came, on the clock of
        `time.perf_counter`, if that was before now.
        """
        weight = self._weight(item)
        if self._waiting_weight + weight > self._waiting_weight_max and self._waiting:
            raise ResourceExhausted("The server is busy writing; try again.", retry_after_s=1)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        came_s = time.perf_counter() if came_s is None else came_s
        self._waiting.push(self._lane(item), _Waiting(item, done, came_s, tracing.recorded()))
        self._waiting_weight += weight
        if self._gathering is not None:
            self._gathering.note_arrival(len(self._waiting))
        if self._idle_committers:
            self._idle_committers -= 1
            # It goes on for others, so it has nothing of the call that happened to begin it.
            task = asyncio.create_task(self._drain(), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return done

    async def _drain(self) -> None:
        try:
            while group := self._take():
                await self._settle(group)
                await self._gather(len(group))
        finally:
            self._idle_committers += 1

    async def _gather(self, count: int) -> None:
        """Wait until `count` items wait, if that is more than one, within the bounds above."""
        if count > 1 and len(self._waiting) < count:
            self._gathering = _Gathering(count)
            try:
                await self._gathering.done
            finally:
                self._gathering = None

    def _take(self) -> list[_Waiting[ItemT]]:
        group: list[_Waiting[ItemT]] = []
        weight = 0
        while self._waiting and (
            not group or weight + self._weight(self._waiting.peek().item) <= self._group_weight_max
        ):
            one = self._waiting.pop()
            self._waiting_weight -= self._weight(one.item)
            # A caller that went away before its turn gets nothing written.
            if not one.done.done():
                weight += self._weight(one.item)
                group.append(one)
        return group

    async def _settle(self, group: list[_Waiting[ItemT]]) -> None:
        try:
            with tracing.shared(f"commit {self._what}", (one.span for one in group)):
                outcomes = await self._commit([one.item for one in group])
        except ServiceError as error:
            outcomes = [error] * len(group)
        except Exception as error:  # noqa: BLE001 -- the boundary between a group and its items
            if len(group) > 1:
                for single in group:
                    await self._settle([single])
                return
            _resolve(group[0].done, error)
            return
        self._count(group, outcomes)
        for one, outcome in zip(group, outcomes, strict=True):
            _resolve(one.done, outcome)

    def _count(self, group: list[_Waiting[ItemT]], outcomes: Sequence[Outcome]) -> None:
        now_s = time.perf_counter()
        self._group_size.observe(len(group))
        for one, outcome in zip(group, outcomes, strict=True):
            if outcome is None:
                self._ack_seconds.observe(now_s - one.came_s)


class _Gathering:
    """Is done when `count` items wait, when none arrived for GAP_S, or after LINGER_S."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._count = count
        self._gap = self._loop.call_later(GAP_S, self._end)
        self._linger = self._loop.call_later(LINGER_S, self._end)
        self.done: asyncio.Future[None] = self._loop.create_future()

    def note_arrival(self, waiting_count: int) -> None:
        self._gap.cancel()
        if waiting_count >= self._count:
            self._end()
        else:
            self._gap = self._loop.call_later(GAP_S, self._end)

    def _end(self) -> None:
        self._gap.cancel()
        self._linger.cancel()
        _resolve(self.done, None)


def _resolve(done: "asyncio.Future[None]", outcome: Exception | None) -> None:
    if done.done():
        return
    if outcome is None:
        done.set_result(None)
    else:
        done.set_exception(outcome)
