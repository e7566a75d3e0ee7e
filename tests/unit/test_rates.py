"""How much came lately, by a clock of the test's own."""

import pytest

from services.common.rates import Rate


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_rate_is_the_mean_of_the_last_ten_seconds() -> None:
    clock = Clock()
    rate = Rate(clock_s=clock)

    for _ in range(20):
        rate.add(50)
        clock.now_s += 0.5

    assert rate.per_second == 100
    assert rate.total == 1000


def test_what_came_before_the_last_ten_seconds_counts_only_in_the_total() -> None:
    clock = Clock()
    rate = Rate(clock_s=clock)
    rate.add(500)

    clock.now_s += 9.9
    before = rate.per_second
    clock.now_s += 0.1

    assert before == pytest.approx(500 / 9.9)
    assert (rate.per_second, rate.total) == (0, 500)


def test_no_more_is_kept_than_a_window() -> None:
    clock = Clock()
    rate = Rate(clock_s=clock)

    for _ in range(1000):
        rate.add(1)
        clock.now_s += 1

    assert len(rate._seconds) <= 10
