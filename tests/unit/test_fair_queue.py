"""Lanes take turns, and each keeps its order."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from services.common.fair_queue import FairQueue

_LANE = st.tuples(st.integers(0, 2), st.integers(0, 2))


def _drained(queue: FairQueue[int]) -> list[int]:
    return [queue.pop() for _ in range(len(queue))]


def test_without_lanes_it_is_a_plain_queue() -> None:
    queue = FairQueue[int]()
    for number in range(5):
        queue.push((), number)

    assert queue.peek() == 0
    assert _drained(queue) == [0, 1, 2, 3, 4]
    assert not queue


def test_who_brings_little_does_not_wait_for_who_brings_much() -> None:
    queue = FairQueue[int]()
    for number in range(100):
        queue.push(("greedy", number % 10), number)
    queue.push(("modest", 0), 1000)

    assert 1000 in [queue.pop() for _ in range(2)]


def test_lanes_of_one_caller_take_turns_within_his_turns() -> None:
    queue = FairQueue[int]()
    for number, path in enumerate([("a", 1), ("a", 1), ("a", 2), ("b", 1), ("b", 1)]):
        queue.push(path, number)

    assert _drained(queue) == [0, 3, 2, 4, 1]


@given(st.lists(st.one_of(_LANE, st.none()), max_size=200))
def test_each_lane_keeps_its_order_and_nothing_is_lost(steps: list[tuple[int, int] | None]) -> None:
    queue, lanes, waiting = FairQueue[tuple[tuple[int, int], int]](), dict[tuple[int, int], deque[int]](), 0

    for number, lane in enumerate(steps):
        if lane is not None:
            queue.push(lane, (lane, number))
            lanes.setdefault(lane, deque()).append(number)
            waiting += 1
        elif waiting:
            peeked = queue.peek()
            taken_lane, taken = queue.pop()
            assert peeked == (taken_lane, taken)
            assert lanes[taken_lane].popleft() == taken
            waiting -= 1
        assert len(queue) == waiting
