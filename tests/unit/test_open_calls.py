"""Calls without an end of their own are bounded for each caller, and end when the server stops."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.common.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from services.common.rpc.open_calls import OpenCalls


def _open_calls(calls_max: int = 9, per_caller_max: int = 9) -> OpenCalls:
    return OpenCalls("streams", calls_max=calls_max, per_caller_max=per_caller_max, ended="The end")


async def _endless(first: bytes) -> AsyncIterator[bytes]:
    yield first
    await asyncio.Event().wait()


def test_caller_has_a_bounded_number_of_streams_and_others_are_not_concerned() -> None:
    open_ = _open_calls(per_caller_max=2)

    with open_.admit("a"), open_.admit("b"):
        with (
            open_.admit("a"),
            pytest.raises(ResourceExhausted, match="The caller a has 2 streams open") as refused,
            open_.admit("a"),
        ):
            pass
        with open_.admit("a"):
            pass

    assert refused.value.retry_after_s


def test_all_callers_together_have_a_bounded_number_of_streams() -> None:
    open_ = _open_calls(calls_max=2)

    with (
        open_.admit("a"),
        open_.admit("b"),
        pytest.raises(ResourceExhausted, match="The server has 2 streams open"),
        open_.admit("c"),
    ):
        pass


async def test_drain_ends_what_is_waited_for_and_what_comes_later() -> None:
    open_ = _open_calls()
    arriving = open_.arriving(_endless(b"1"), wait_s=60)
    first = await anext(arriving)
    waiting = asyncio.create_task(anext(arriving, b"end"))
    await asyncio.sleep(0)

    open_.check_open()
    open_.drain()

    assert (first, await waiting) == (b"1", b"end")
    assert [body async for body in open_.arriving(_endless(b"2"), wait_s=60)] == []
    with pytest.raises(Unavailable, match="The end"), open_.admit("a"):
        pass


async def test_a_block_ends_late_by_itself_and_otherwise_with_all() -> None:
    open_ = _open_calls()
    with pytest.raises(ResourceExhausted, match="late"):
        async with open_.bounded(0.01, late=lambda: ResourceExhausted("late")):
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError, match="its own"):
        async with open_.bounded(60, late=lambda: ResourceExhausted("late")):
            raise TimeoutError("its own")

    asyncio.get_running_loop().call_soon(open_.drain)
    with pytest.raises(Unavailable, match="The end"):
        async with open_.bounded(60, late=lambda: ResourceExhausted("late")):
            await asyncio.Event().wait()


async def test_silence_has_a_bound() -> None:
    arriving = _open_calls().arriving(_endless(b"1"), wait_s=0.01)
    await anext(arriving)

    with pytest.raises(DeadlineExceeded, match="No message came for"):
        await anext(arriving)
