"""Streams both ways are bounded for each caller, and end when the server stops."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.common.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from services.common.rpc import exchanges
from services.common.rpc.exchanges import Exchanges


async def _endless(first: bytes) -> AsyncIterator[bytes]:
    yield first
    await asyncio.Event().wait()


def test_caller_has_a_bounded_number_of_streams_and_others_are_not_concerned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "STREAMS_A_CALLER_MAX", 2)
    open_ = Exchanges()

    with open_.admitted("a"), open_.admitted("b"):
        with (
            open_.admitted("a"),
            pytest.raises(ResourceExhausted, match="The caller a has 2 streams open") as refused,
            open_.admitted("a"),
        ):
            pass
        with open_.admitted("a"):
            pass

    assert refused.value.retry_after_s


async def test_drain_ends_what_is_waited_for_and_what_comes_later() -> None:
    open_ = Exchanges()
    arriving = open_.arriving(_endless(b"1"))
    first = await anext(arriving)
    waiting = asyncio.create_task(anext(arriving, b"end"))
    await asyncio.sleep(0)

    open_.check_open()
    open_.drain()

    assert (first, await waiting) == (b"1", b"end")
    assert [body async for body in open_.arriving(_endless(b"2"))] == []
    with pytest.raises(Unavailable, match="The server is stopping"):
        open_.check_open()


async def test_silence_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanges, "MESSAGE_WAIT_S_MAX", 0.01)
    arriving = Exchanges().arriving(_endless(b"1"))
    await anext(arriving)

    with pytest.raises(DeadlineExceeded, match="No message came for"):
        await anext(arriving)
