"""A slow store is waited for, one that is away is not, and one that gets on with anything is there."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from services.artifacts import availability
from services.artifacts.availability import Watch
from services.common.errors import Unavailable


@pytest.fixture
def block() -> Iterator[threading.Event]:
    """What calls and probes wait for; set at the end, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.alone
async def test_a_call_that_takes_long_is_waited_for_while_the_store_answers() -> None:
    watch = Watch(lambda: True, threads=1)

    assert await watch.run(lambda: time.sleep(3 * availability.PATIENCE_S) or "done") == "done"


async def test_a_call_is_given_up_once_the_store_does_not_answer(block: threading.Event) -> None:
    watch = Watch(lambda: False, threads=1)

    with pytest.raises(Unavailable):
        await watch.run(block.wait)


@pytest.mark.alone
async def test_a_call_is_given_up_in_two_seconds_if_not_even_the_probe_ends(block: threading.Event) -> None:
    watch = Watch(block.wait, threads=1)
    started = time.monotonic()

    with pytest.raises(Unavailable):
        await watch.run(block.wait)

    assert time.monotonic() - started < 2


async def test_calls_to_a_store_that_is_away_are_not_even_begun(block: threading.Event) -> None:
    answers = False
    watch = Watch(lambda: answers, threads=1)
    with pytest.raises(Unavailable):
        await watch.check()
    begun = []

    with pytest.raises(Unavailable):
        await watch.run(lambda: begun.append(1))
    answers = True
    await watch.run(lambda: begun.append(2))

    assert begun == [2]


@pytest.mark.alone
async def test_a_store_that_gets_on_with_another_call_is_not_away(block: threading.Event) -> None:
    watch = Watch(lambda: block.wait(availability.PROBE_TIMEOUT_S) and False, threads=4)
    waiting = asyncio.create_task(watch.run(block.wait))

    for _ in range(20):
        await watch.run(lambda: time.sleep(0.15))
    block.set()

    assert await waiting is True
