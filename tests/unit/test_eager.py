"""Work that waits for nothing is done without a bound; work that waits goes on within it as if it had never stopped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from services.common.rpc.eager import within


class Bounds:
    """Counts the blocks that were opened."""

    def __init__(self, timeout_s: float | None = None) -> None:
        self.count = 0
        self._timeout_s = timeout_s

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        self.count += 1
        async with asyncio.timeout(self._timeout_s):
            yield


async def test_work_that_waits_for_nothing_is_not_bounded() -> None:
    bounds = Bounds()

    async def work() -> int:
        return 1

    assert await within(bounds, work()) == 1
    assert bounds.count == 0


async def test_work_that_waits_is_bounded_once_and_gets_what_it_waits_for() -> None:
    bounds = Bounds()

    async def work() -> list[int]:
        found = [await asyncio.to_thread(int, "1")]
        await asyncio.sleep(0)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(asyncio.sleep(0.001, 2))
        return [*found, task.result()]

    assert await within(bounds, work()) == [1, 2]
    assert bounds.count == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_is_raised(waits: bool) -> None:
    async def work() -> None:
        if waits:
            await asyncio.sleep(0.001)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await within(Bounds(), work())


async def test_an_error_of_what_is_waited_for_is_the_works_to_catch() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def work() -> str:
        try:
            await asyncio.create_task(fail())
        except KeyError:
            await asyncio.sleep(0)
            return "caught"
        return "not raised"

    assert await within(Bounds(), work()) == "caught"


async def test_late_work_is_ended_where_it_waits() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await within(Bounds(0.01), work())
    assert ended == [True]


async def test_a_task_that_is_cancelled_cancels_its_work_which_may_tidy_up() -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            steps.append("tidied")
            raise

    task = asyncio.create_task(within(Bounds(), work()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["tidied"]


async def test_a_task_that_is_cancelled_between_two_steps_cancels_its_work() -> None:
    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    task = asyncio.create_task(within(Bounds(), work()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
