"""Answers that may be a moment old: who asks often, or at the same time as others, costs no more than one read."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class Remembered(Generic[ValueT]):
    """What `read` returned, for `age_s` after it was asked for. Those who ask while it reads share what it raises."""

    def __init__(
        self, read: Callable[[], Awaitable[ValueT]], *, age_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._age_s = age_s
        self._clock_s = clock_s
        self._asked_s = 0.0
        self._reading: asyncio.Task[ValueT] | None = None

    async def get(self) -> ValueT:
        """Return the value. Raises what `read` raises, which is not remembered."""
        reading = self._reading
        if reading is None or (reading.done() and (self._is_old() or _has_failed(reading))):
            self._asked_s = self._clock_s()
            reading = self._reading = asyncio.create_task(self._answer())
        return await asyncio.shield(reading)

    async def _answer(self) -> ValueT:
        return await self._read()

    def _is_old(self) -> bool:
        return self._clock_s() >= self._asked_s + self._age_s


def _has_failed(reading: "asyncio.Task[ValueT]") -> bool:
    return reading.cancelled() or reading.exception() is not None
