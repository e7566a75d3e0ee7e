"""Commits what concurrent calls bring in few transactions: one round to the disk serves many callers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from services.common.errors import ResourceExhausted, ServiceError
from services.common.fair_queue import FairQueue

ItemT = TypeVar("ItemT")
Outcome = ServiceError | None

# After a group of several, the next one is awaited: until it is as large, until nobody came for so long, or until
# somebody has waited for so long.
GAP_S = 0.005
LINGER_S = 0.010

_log = logging.getLogger("modelstead.group_commit")


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
    ) -> None:
        self._commit = commit
        self._weight = weight
        self._group_weight_max = group_weight_max
        self._waiting_weight_max = waiting_weight_max
        self._lane = lane
        self._waiting: FairQueue[tuple[ItemT, asyncio.Future[None]]] = FairQueue()
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

    def enqueue(self, item: ItemT) -> "asyncio.Future[None]":
        """Return what is done once the item is committed, or failed. Raises ResourceExhausted as `submit` does.

        Who cancels it before the item's turn has it not committed.
        """
        weight = self._weight(item)
        if self._waiting_weight + weight > self._waiting_weight_max and self._waiting:
            raise ResourceExhausted("The server is busy writing; try again.", retry_after_s=1)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(self._lane(item), (item, done))
        self._waiting_weight += weight
        if self._gathering is not None:
            self._gathering.note_arrival(len(self._waiting))
        if self._idle_committers:
            self._idle_committers -= 1
            task = asyncio.create_task(self._drain())
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

    def _take(self) -> list[tuple[ItemT, asyncio.Future[None]]]:
        group: list[tuple[ItemT, asyncio.Future[None]]] = []
        weight = 0
        while self._waiting and (not group or weight + self._weight(self._waiting.peek()[0]) <= self._group_weight_max):
            item, done = self._waiting.pop()
            self._waiting_weight -= self._weight(item)
            # A caller that went away before its turn gets nothing written.
            if not done.done():
                weight += self._weight(item)
                group.append((item, done))
        return group

    async def _settle(self, group: list[tuple[ItemT, asyncio.Future[None]]]) -> None:
        try:
            outcomes = await self._commit([item for item, _ in group])
        except ServiceError as error:
            outcomes = [error] * len(group)
        except Exception as error:  # noqa: BLE001 -- the boundary between a group and its items
            if len(group) > 1:
                for single in group:
                    await self._settle([single])
                return
            _resolve(group[0][1], error)
            return
        for (_, done), outcome in zip(group, outcomes, strict=True):
            _resolve(done, outcome)


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
