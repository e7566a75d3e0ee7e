"""Logging beyond what there is room for: what cannot be taken is refused at once, with when to come back, the rest goes
on as before (R17); and who brings much waits for himself (R18).

`make faults` takes minutes instead of seconds.
"""

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.auth import AuthKind
from tests.faults import load
from tests.faults.load import Outcome
from tests.long_form import IS_LONG, TEST_TIMEOUT_S
from tests.stack import Stack

_MEMORY_MB = 32
_LARGE_POINTS = 20_000
# As many as a batch may have: what is refused costs what a call costs, beside which it costs much to store these.
_MOST_POINTS = 100_000
_CALLERS = 8
_OVERLOAD = 5
_PEAK_S = 20.0 if IS_LONG else 4.0
_OVERLOAD_S = 60.0 if IS_LONG else 8.0
# In seconds rather than a minute, on a machine that does other things, a rate is not known to a tenth.
_GOODPUT_MIN = 0.8 if IS_LONG else 0.7
_RECOVERY_S_MAX = 10.0
_GROWTH_MB_MAX = 256

_SMALL_POINTS = 100
_RANKS = 2
_PERIOD_S = 0.1
_FLOODERS = 64
# Of a hundred batches, on two processors that are shared with what brings them, a percentile is that of the worst one.
_P99_S_MIN = 0.01 if IS_LONG else 0.1
_TENANT_S = 60.0 if IS_LONG else 6.0

pytestmark = [pytest.mark.alone, pytest.mark.timeout(TEST_TIMEOUT_S)]


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSTEAD_INGEST_MEMORY_BYTES", str(_MEMORY_MB * 1024 * 1024))


@pytest.fixture
def small_stack(tmp_path: Path, small_memory: None) -> Iterator[Stack]:
    with _stack(tmp_path) as running:
        yield running


@pytest.fixture
def stack_apart(tmp_path: Path, small_memory: None) -> Iterator[Stack]:
    """It has half of the processors, and who loads it the others, so that what they spend is not the server's loss."""
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    try:
        os.sched_setaffinity(0, cores[half:])
        with _stack(tmp_path) as running:
            os.sched_setaffinity(0, cores[:half] or cores)
            yield running
    finally:
        os.sched_setaffinity(0, cores)


def _stack(folder: Path) -> Stack:
    return Stack(folder, artifact_stores="", auth=AuthKind.DEV, is_patient=False)


def test_overload_is_refused_with_a_delay_and_the_rest_goes_on(stack_apart: Stack) -> None:
    address = stack_apart.grpc_address
    peak = load.run(address, seconds=_PEAK_S, points=_MOST_POINTS, callers=_CALLERS)
    usual = load.run(address, seconds=2, points=_SMALL_POINTS, callers=1, period=0.1)

    with _Memory(stack_apart.process("tracking").pid) as memory:
        over = load.run(address, seconds=_OVERLOAD_S, points=_MOST_POINTS, rate=_OVERLOAD * peak.rate)
    recovered_s = _until_usual(address, usual)

    print(f"peak {peak.rate:.1f} batches/s; at {_OVERLOAD} times that {over.rate:.1f}, refused {over.refused}")
    print(f"{memory.grown_mb:.0f} MB more; as usual after {recovered_s:.1f} s")
    assert set(over.refused) == {"RESOURCE_EXHAUSTED"}
    assert not over.without_pushback
    assert over.rate >= _GOODPUT_MIN * peak.rate
    assert memory.grown_mb < _GROWTH_MB_MAX
    assert recovered_s < _RECOVERY_S_MAX


def test_who_brings_ten_times_as_much_makes_nobody_else_wait(small_stack: Stack) -> None:
    address = small_stack.grpc_address
    ranks = {"points": _SMALL_POINTS, "period": _PERIOD_S}
    b = ranks | {"caller": "b", "callers": _RANKS, "seconds": _TENANT_S}
    # Whoever is beside them begins before and ends after.
    a = {"caller": "a", "seconds": 2 * _TENANT_S + 10}
    alone = load.run(address, **b)
    with load.start(address, **ranks | a | {"callers": 10 * _RANKS}) as other:
        beside = load.run(address, **b)
        many = load.finished(other)
    with load.start(address, **a | {"callers": _FLOODERS, "points": _LARGE_POINTS}) as other:
        flooded = load.run(address, **b)
        flood = load.finished(other)

    for name, outcome in (("alone", alone), (f"beside {many.rate:.0f} batches/s", beside), ("flooded", flooded)):
        print(f"{name}: p50 {1000 * outcome.quantile_s(0.5):.1f} ms, p99 {1000 * outcome.quantile_s(0.99):.1f} ms")
    print(f"flood: {flood.rate * _LARGE_POINTS:,.0f} points/s, p50 {flood.quantile_s(0.5):.2f} s, {flood.refused}")
    assert not alone.refused
    assert not beside.refused
    assert beside.quantile_s(0.99) <= 1.5 * max(alone.quantile_s(0.99), _P99_S_MIN)
    # Whoever floods the server waits behind himself, and nobody else behind him.
    assert flooded.acknowledged
    assert flooded.quantile_s(0.5) < 0.5 * flood.quantile_s(0.5)


def _until_usual(address: str, usual: Outcome) -> float:
    """Return after how long nothing is refused and what is brought takes as long as before, or not much longer."""
    began = time.monotonic()
    while True:
        with load.start(address, seconds=1, points=_SMALL_POINTS, callers=1, period=0.1) as process:
            # From here on it is measured; how long the process took to start is not the server's.
            passed_s = time.monotonic() - began
            now = load.finished(process)
        is_usual = not now.refused and now.quantile_s(0.5) <= 3 * max(usual.quantile_s(0.5), 0.01)
        if is_usual or passed_s > _RECOVERY_S_MAX:
            return passed_s


class _Memory:
    """How much more memory than at first a process takes at most."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before_mb = self._held_mb()
        self._most_mb = self._before_mb
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown_mb(self) -> float:
        return self._most_mb - self._before_mb

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self._most_mb = max(self._most_mb, self._held_mb())

    def _held_mb(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self._pid}/status").read_text())
        assert found
        return int(found[1]) / 1024
