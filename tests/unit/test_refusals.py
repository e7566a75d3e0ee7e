"""A call that is refused leaves nothing behind: a server that refuses what it has no room for must not keep it."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from modelstead.tracking.v1 import run_watches_pb2, runs_pb2
from services.common.auth import NoAuthentication
from services.common.errors import ResourceExhausted
from services.common.program import descriptor
from services.common.rpc import contract
from services.common.rpc.pipeline import EveryoneMayEverything, Pipeline

REQUEST = runs_pb2.GetRunRequest(run_id="a").SerializeToString()


class Content:
    """Something large that came with a call."""


class Refusing:
    """Serves nothing, for lack of room; `seen` is what it got."""

    def __init__(self) -> None:
        self.seen: list[weakref.ref[Content]] = []

    async def unary(self, request: Any, call: Any) -> bytes:
        content = Content()
        self.seen.append(weakref.ref(content))
        raise ResourceExhausted("no room")

    async def stream(self, request: Any, call: Any) -> AsyncIterator[bytes]:
        content = Content()
        self.seen.append(weakref.ref(content))
        yield b""
        raise ResourceExhausted("no room")


class Room:
    """Room for anything, or for nothing."""

    def __init__(self, *, is_full: bool = False) -> None:
        self._is_full = is_full

    def expect(self) -> contextlib.ExitStack:
        if self._is_full:
            raise ResourceExhausted("no room")
        return contextlib.ExitStack()


def _handlers(refusing: Refusing) -> grpc.GenericRpcHandler:
    pipeline = Pipeline(NoAuthentication(), EveryoneMayEverything())
    [get] = [each for each in contract.of_service(descriptor(runs_pb2, "RunService")) if each.name == "GetRun"]
    [watch] = contract.of_service(descriptor(run_watches_pb2, "RunWatchService"))
    return grpc.method_handlers_generic_handler(
        "test",
        {
            "Unary": grpc.unary_unary_rpc_method_handler(pipeline.unary(get, refusing.unary)),
            "Weighed": grpc.stream_unary_rpc_method_handler(pipeline.weighed(get, refusing.unary, Room())),
            "Full": grpc.stream_unary_rpc_method_handler(pipeline.weighed(get, refusing.unary, Room(is_full=True))),
            "Stream": grpc.unary_stream_rpc_method_handler(pipeline.stream(watch, refusing.stream)),
        },
    )


@contextlib.asynccontextmanager
async def _serving(refusing: Refusing) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(refusing),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


@pytest.mark.parametrize("kind", ["Unary", "Weighed", "Stream"])
async def test_what_came_with_a_refused_call_goes_with_it(kind: str) -> None:
    refusing = Refusing()
    gc.collect()
    gc.disable()
    try:
        async with _serving(refusing) as channel:
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await _call(channel, kind)
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            left = [content for content in refusing.seen[:-1] if content() is not None]
    finally:
        gc.enable()

    assert len(refusing.seen) == 3
    assert not left


async def test_what_there_is_no_room_for_is_refused_before_it_is_read() -> None:
    refusing = Refusing()
    async with _serving(refusing) as channel:
        # Nothing of the request is ever sent.
        call = channel.stream_unary("/test/Full")()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call, 60)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not refusing.seen


async def test_a_request_is_one_message() -> None:
    refusing = Refusing()
    async with _serving(refusing) as channel:
        call = channel.stream_unary("/test/Weighed")(iter([REQUEST, REQUEST]))

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call

    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "The call takes one message.",
    )
    assert not refusing.seen


async def _call(channel: grpc.aio.Channel, kind: str) -> None:
    if kind != "Stream":
        await channel.unary_unary(f"/test/{kind}")(REQUEST)
        return
    async for _ in channel.unary_stream("/test/Stream")(REQUEST):
        pass
