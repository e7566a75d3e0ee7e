"""Rates and durations of asynchronous calls, and what measuring them cost."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks import machine
from benchmarks.scale import Scale

Call = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Samples in the unit of their row, and how many cores went meanwhile to the load client, and to strangers."""

    samples: tuple[float, ...]
    client_cores: float = 0.0
    foreign_cores: float = 0.0
    # How many calls were made for them, those to warm up included.
    count: int = 0

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
        clock = Clock()
        for _ in range(scale.windows):
            began, done_before = time.perf_counter(), done
            await asyncio.sleep(scale.window_s)
            samples.append((done - done_before) * per_call / (time.perf_counter() - began))
        measurement = clock.measurement(samples)
        running = False
    return replace(measurement, count=done)


async def duration(call: Call, *, factor: float, scale: Scale) -> Measurement:
    """Repeat a call alone and return how long each took, in seconds times `factor`. Warming up is the caller's."""
    samples: list[float] = []
    clock = Clock()
    while len(samples) < scale.repeats_min or (len(samples) < scale.repeats_max and clock.elapsed_s() < scale.budget_s):
        began = time.perf_counter()
        await call()
        samples.append((time.perf_counter() - began) * factor)
    return replace(clock.measurement(samples), count=len(samples))


class Clock:
    """Compares the time that passes with the processor time that this process and strangers take."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._client_began_s = time.process_time()
        self._foreign_began_s = machine.foreign_cpu_s()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began

    def measurement(self, samples: Sequence[float]) -> Measurement:
        """Return samples that were taken since this clock was made."""
        client_s = time.process_time() - self._client_began_s
        foreign_s = machine.foreign_cpu_s() - self._foreign_began_s
        elapsed_s = self.elapsed_s()
        return Measurement(
            samples=tuple(samples),
            client_cores=client_s / elapsed_s,
            foreign_cores=max(0.0, foreign_s / elapsed_s),
        )
