"""Answers that may be a moment old: when they are read anew, and what those share who ask at the same time."""

import asyncio

import pytest

from services.common.remembered import Remembered


class Source:
    """What is read, each time another number, by a clock of the test's own."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.count = 0
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> int:
        self.count += 1
        number = self.count
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise RuntimeError
        return number

    def remembered(self) -> Remembered[int]:
        return Remembered(self.read, age_s=1.0, clock_s=lambda: self.now_s)


async def test_an_answer_is_read_anew_when_it_is_old() -> None:
    source = Source()
    remembered = source.remembered()

    first = await remembered.get()
    source.now_s += 0.9
    young = await remembered.get()
    source.now_s += 0.1
    old = await remembered.get()

    assert (first, young, old) == (1, 1, 2)


async def test_those_who_ask_while_it_is_read_share_the_read() -> None:
    source = Source()
    remembered = source.remembered()
    source.gate.clear()
    asking = [asyncio.create_task(remembered.get()) for _ in range(10)]
    await asyncio.sleep(0)
    source.now_s += 5

    source.gate.set()

    assert await asyncio.gather(*asking) == [1] * 10


async def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    source = Source()
    remembered = source.remembered()
    source.gate.clear()
    leaving, staying = asyncio.create_task(remembered.get()), asyncio.create_task(remembered.get())
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.sleep(0)
    source.gate.set()

    assert await staying == 1


async def test_a_failure_is_not_remembered() -> None:
    source = Source()
    remembered = source.remembered()
    source.failures = 1

    with pytest.raises(RuntimeError):
        await remembered.get()

    assert await remembered.get() == 2
