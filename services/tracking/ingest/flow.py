"""How much of what clients send is held in memory, and what of one stream is still to be committed."""

import asyncio
import contextlib
from collections import deque

from services.common.errors import ResourceExhausted
from services.tracking.ingest.model import BATCH_BYTES_MAX, Rejected, Rejection

RETRY_AFTER_S = 1.0
# A stream that gets no room for so long is told to come back, rather than be kept waiting for ever.
ROOM_WAIT_S = 10.0
# Told to clients when more than half of the room is taken.
PAUSE_S = 0.05
# How much the newest batch tells of the size of the next one.
_NEWEST = 0.1
_EXPECTED_BYTES_MIN = BATCH_BYTES_MAX // 16


class Budget:
    """Bytes of batches that are under way. Who waits for room gets it in the order in which they came."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._taken = 0
        self._usual = 0.0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken_bytes(self) -> int:
        """How much room is taken."""
        return self._taken

    @property
    def bytes_max(self) -> int:
        """How much room there is in all."""
        return self._bytes_max

    @property
    def pause_s(self) -> float:
        """How long clients should pause before they send more."""
        return PAUSE_S if self._taken > self._bytes_max // 2 else 0.0

    def expect(self) -> contextlib.ExitStack:
        """Take room at once for a batch that is about to be read, and whose size nobody knows yet: as much as batches
        have taken of late, but for very small ones, since what comes next may be larger. It is given back at the end
        of the block. Raises ResourceExhausted if there is none.
        """
        size = min(max(int(self._usual), _EXPECTED_BYTES_MIN), self._bytes_max)
        self._take(size)
        kept = contextlib.ExitStack()
        kept.callback(self.give_back, size)
        return kept

    def take(self, size: int) -> None:
        """Take room at once. Raises ResourceExhausted if there is none."""
        self._usual += (min(size, BATCH_BYTES_MAX) - self._usual) * _NEWEST
        self._take(size)

    async def wait(self, size: int) -> None:
        """Take room as soon as there is any. Raises ResourceExhausted after 10 s."""
        if not self._waiting and self._has_room(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(ROOM_WAIT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            if isinstance(error, TimeoutError):
                raise self._exhausted() from None
            raise

    def give_back(self, size: int) -> None:
        """Let others have the room of a batch that is dealt with."""
        self._taken -= size
        while self._waiting and (self._waiting[0][1].done() or self._has_room(self._waiting[0][0])):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += size
                turn.set_result(None)

    def _take(self, size: int) -> None:
        if self._waiting or not self._has_room(size):
            raise self._exhausted()
        self._taken += size

    def _has_room(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._bytes_max

    def _exhausted(self) -> ResourceExhausted:
        return ResourceExhausted(
            f"The server holds {self._taken} bytes of batches, of at most {self._bytes_max}; try again.",
            retry_after_s=RETRY_AFTER_S,
        )


class Flow:
    """The batches of one stream that are under way, in their order.

    One task adds them, another one takes what is settled.
    """

    def __init__(self, budget: Budget, *, window_bytes: int) -> None:
        self._budget = budget
        self._window_bytes = window_bytes
        self._under_way: deque[tuple[int, int, asyncio.Future[None]]] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._has_all = False

    async def make_room(self, size: int) -> None:
        """Wait until a batch fits into the window and into memory. Raises ResourceExhausted."""
        while self._size and self._size + size > self._window_bytes:
            self._changed.clear()
            await self._changed.wait()
        await self._budget.wait(size)

    def add(self, sequence: int, size: int, done: "asyncio.Future[None]") -> None:
        """Add a batch for which room was made."""
        self._under_way.append((sequence, size, done))
        self._size += size
        self._changed.set()

    def end(self) -> None:
        """No batch is added any more."""
        self._has_all = True
        self._changed.set()

    async def settled(self) -> tuple[int, list[Rejection]] | None:
        """Return the newest batch of those in a row that are dealt with, and which of them were rejected.

        Waits until there is one; None when all are told and no more come. Raises the ServiceError of a batch that is
        not dealt with.
        """
        while not self._under_way:
            if self._has_all:
                return None
            self._changed.clear()
            await self._changed.wait()
        await asyncio.wait([self._under_way[0][2]])
        newest, rejections = 0, list[Rejection]()
        while self._under_way and self._under_way[0][2].done():
            error = self._under_way[0][2].exception()
            if error is not None and not isinstance(error, Rejected):
                if newest:
                    break
                raise error
            newest, size, _ = self._under_way.popleft()
            self._give_back(size)
            if error is not None:
                rejections.append(error.rejection)
        return newest, rejections

    def drop(self) -> None:
        """Give up what is under way: what was not begun is not stored."""
        while self._under_way:
            _, size, done = self._under_way.popleft()
            if not done.cancel():
                # Told to nobody any more.
                done.exception()
            self._give_back(size)

    def _give_back(self, size: int) -> None:
        self._size -= size
        self._budget.give_back(size)
        self._changed.set()
