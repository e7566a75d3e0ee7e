"""What a watch of health is told while a server stops."""

import asyncio

import pytest
from grpc_health.v1 import health_pb2

from services.common.rpc.health import Health

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_watch_stays_open_while_a_server_drains() -> None:
    health = Health()
    watch = health.Watch(health_pb2.HealthCheckRequest(), None)
    assert (await anext(watch)).status == SERVING
    news = asyncio.ensure_future(anext(watch))

    health.drain()

    assert (await asyncio.wait_for(news, 60)).status == NOT_SERVING
    # A client begins a watch that ends anew at once.
    rest = asyncio.ensure_future(anext(watch))
    done, _ = await asyncio.wait([rest], timeout=0.1)
    assert not done
    health.end()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(rest, 60)


async def test_a_watch_that_begins_while_a_server_drains_is_told_so() -> None:
    health = Health()
    health.drain()

    assert (await anext(health.Watch(health_pb2.HealthCheckRequest(), None))).status == NOT_SERVING
