"""Callers share transactions, and each is answered after its own."""

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest

from services.common import group_commit
from services.common.errors import InvalidArgument, ResourceExhausted
from services.common.group_commit import GroupCommit, Outcome


class Ledger:
    """Commits groups of numbers: keeps each in order, refuses negative ones, and takes as long as it is told."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def commit(self, numbers: Sequence[int]) -> Sequence[Outcome]:
        await self.open.wait()
        if 13 in numbers:
            raise RuntimeError("breaks the transaction")
        self.groups.append(list(numbers))
        return [InvalidArgument("negative") if number < 0 else None for number in numbers]


@pytest.fixture
async def ledger() -> Ledger:
    return Ledger()


def _grouping(ledger: Ledger, *, group_weight_max: int = 100, waiting_weight_max: int = 1000) -> GroupCommit[int]:
    return GroupCommit(
        ledger.commit,
        weight=lambda number: 1,
        group_weight_max=group_weight_max,
        waiting_weight_max=waiting_weight_max,
        committers=1,
    )


async def test_what_arrives_during_a_commit_is_the_next_group(ledger: Ledger) -> None:
    commits = _grouping(ledger)
    ledger.open.clear()
    first = asyncio.create_task(commits.submit(0))
    await asyncio.sleep(0)
    later = [asyncio.create_task(commits.submit(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)

    ledger.open.set()
    await asyncio.gather(first, *later)

    assert ledger.groups == [[0], [1, 2, 3]]


async def test_nobody_is_answered_before_the_commit(ledger: Ledger) -> None:
    commits = _grouping(ledger)
    ledger.open.clear()

    submitted = asyncio.create_task(commits.submit(1))
    done, _ = await asyncio.wait([submitted], timeout=0.05)

    assert not done
    ledger.open.set()
    await submitted


async def test_those_who_were_answered_together_are_awaited(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    # They come as fast as this machine has time for them.
    monkeypatch.setattr(group_commit, "GAP_S", 5)
    monkeypatch.setattr(group_commit, "LINGER_S", 5)
    commits = _grouping(ledger)
    await asyncio.gather(*(commits.submit(number) for number in (1, 2, 3)))

    again = []
    for number in (1, 2, 3):
        again.append(asyncio.create_task(commits.submit(number)))
        # Long enough for a commit to begin, were it not to wait.
        for _ in range(10):
            await asyncio.sleep(0)
    await asyncio.gather(*again)

    assert ledger.groups == [[1, 2, 3], [1, 2, 3]]


async def test_a_lone_caller_after_a_crowd_is_not_left_waiting(ledger: Ledger) -> None:
    commits = _grouping(ledger)
    await asyncio.gather(*(commits.submit(number) for number in range(10)))

    await asyncio.wait_for(commits.submit(99), timeout=60)

    assert ledger.groups[-1] == [99]


async def test_a_group_is_bounded_by_weight(ledger: Ledger) -> None:
    commits = _grouping(ledger, group_weight_max=4)

    await asyncio.gather(*(commits.submit(number) for number in range(10)))

    assert max(map(len, ledger.groups)) == 4
    assert sorted(chain.from_iterable(ledger.groups)) == list(range(10))


async def test_too_much_waiting_is_refused(ledger: Ledger) -> None:
    commits = _grouping(ledger, waiting_weight_max=3)
    ledger.open.clear()
    under_way = asyncio.create_task(commits.submit(0))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(commits.submit(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)

    with pytest.raises(ResourceExhausted):
        await commits.submit(4)

    ledger.open.set()
    await asyncio.gather(under_way, *waiting)


async def test_refused_item_takes_no_other_with_it(ledger: Ledger) -> None:
    commits = _grouping(ledger)

    outcomes = await asyncio.gather(*(commits.submit(number) for number in (1, -1, 2)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), InvalidArgument, type(None)]


async def test_item_that_breaks_the_transaction_fails_alone(ledger: Ledger) -> None:
    commits = _grouping(ledger)

    outcomes = await asyncio.gather(*(commits.submit(number) for number in (1, 13, 2)), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), RuntimeError, type(None)]
    assert sorted(chain.from_iterable(ledger.groups)) == [1, 2]


async def test_caller_that_left_before_its_turn_gets_nothing_written(ledger: Ledger) -> None:
    commits = _grouping(ledger)
    ledger.open.clear()
    first = asyncio.create_task(commits.submit(0))
    await asyncio.sleep(0)
    left, stayed = asyncio.create_task(commits.submit(1)), asyncio.create_task(commits.submit(2))
    await asyncio.sleep(0)

    left.cancel()
    ledger.open.set()
    await asyncio.gather(first, stayed)

    assert ledger.groups == [[0], [2]]
