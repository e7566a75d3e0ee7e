"""Rates and durations of asynchronous calls, and what measuring them cost."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.scale import Scale

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Samples in the unit of their row, and the share of one core that the load client took meanwhile."""

    samples: tuple[float, ...]
    client_cores: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


async def rate(calls: Sequence[Call], *, per_call: int, scale: Scale) -> Measurement:
    """Run each call over and over, all side by side, and return `per_call` times the calls completed per second."""
    done = 0
    running = True

    async def repeat(call: Call) -> None:
        nonlocal done
        while running:
            await call()
            done += 1

    samples = []
    async with asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(repeat(call))
        await asyncio.sleep(scale.warm_up_s)
        clock = _Clock()
        for _ in range(scale.windows):
            began, done_before = time.perf_counter(), done
            await asyncio.sleep(scale.window_s)
            samples.append((done - done_before) * per_call / (time.perf_counter() - began))
        cores = clock.cores()
        running = False
    return Measurement(samples=tuple(samples), client_cores=cores)


async def duration(call: Call, *, factor: float, scale: Scale) -> Measurement:
    """Repeat a call alone and return how long each took, in seconds times `factor`. Warming up is the caller's."""
    samples: list[float] = []
    clock = _Clock()
    while len(samples) < scale.repeats_min or (len(samples) < scale.repeats_max and clock.elapsed_s() < scale.budget_s):
        began = time.perf_counter()
        await call()
        samples.append((time.perf_counter() - began) * factor)
    return Measurement(samples=tuple(samples), client_cores=clock.cores())


class _Clock:
    """Compares the processor time of this process with the time that passes."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._cpu_began = time.process_time()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began

    def cores(self) -> float:
        return (time.process_time() - self._cpu_began) / self.elapsed_s()
