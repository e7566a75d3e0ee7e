"""A call that is refused leaves nothing behind: a server that refuses what it has no room for must not keep it."""

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


def _handlers(refusing: Refusing) -> grpc.GenericRpcHandler:
    pipeline = Pipeline(NoAuthentication(), EveryoneMayEverything())
    [get] = [each for each in contract.of_service(descriptor(runs_pb2, "RunService")) if each.name == "GetRun"]
    [watch] = contract.of_service(descriptor(run_watches_pb2, "RunWatchService"))
    return grpc.method_handlers_generic_handler(
        "test",
        {
            "Unary": grpc.unary_unary_rpc_method_handler(pipeline.unary(get, refusing.unary)),
            "Stream": grpc.unary_stream_rpc_method_handler(pipeline.stream(watch, refusing.stream)),
        },
    )


@pytest.mark.parametrize("kind", ["unary", "stream"])
async def test_what_came_with_a_refused_call_goes_with_it(kind: str) -> None:
    refusing = Refusing()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(refusing),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.collect()
    gc.disable()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(3):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await _call(channel, kind)
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        left = [content for content in refusing.seen[:-1] if content() is not None]
    finally:
        gc.enable()
        await server.stop(0)

    assert len(refusing.seen) == 3
    assert not left


async def _call(channel: grpc.aio.Channel, kind: str) -> None:
    request = runs_pb2.GetRunRequest(run_id="a").SerializeToString()
    if kind == "unary":
        await channel.unary_unary("/test/Unary")(request)
        return
    async for _ in channel.unary_stream("/test/Stream")(request):
        pass
