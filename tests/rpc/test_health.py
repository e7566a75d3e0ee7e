"""Health on a port of its own: what probes are told, and that nothing else is to be had there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelstead.tracking.v1 import status_pb2, status_pb2_grpc
from services.common.rpc.server import LIVENESS, READINESS
from services.common.settings import Address
from services.local import ports, waiting
from services.local.plan import LOOPBACK
from tests.stack import is_ready_at

WAIT_S = 120
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@contextmanager
def _tracking(database_url: str, health: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of tracking that, once told to stop, goes on until it is killed."""
    variables = {
        "MODELSTEAD_DATABASE_URL": database_url,
        "MODELSTEAD_PAGE_TOKEN_KEY": "k" * 32,
        "MODELSTEAD_LISTEN": str(Address(LOOPBACK, ports.choose(LOOPBACK))),
        "MODELSTEAD_HEALTH_LISTEN": health,
        "MODELSTEAD_DRAIN_NOTICE_S": "600",
    }
    with subprocess.Popen([sys.executable, "-m", "services.tracking"], env={**os.environ, **variables}) as process:
        try:
            assert waiting.until(lambda: is_ready_at(health), timeout_s=WAIT_S)
            yield process
        finally:
            process.kill()


def _told(channel: grpc.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=30).status)


def test_a_port_of_its_own_tells_of_health_until_the_end_and_of_nothing_else(database_url: str) -> None:
    health = str(Address(LOOPBACK, ports.choose(LOOPBACK)))
    with _tracking(database_url, health) as process, grpc.insecure_channel(health) as channel:
        assert _told(channel, LIVENESS) == _told(channel, READINESS) == SERVING
        status = status_pb2_grpc.TrackingStatusServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            status.GetTrackingStatus(status_pb2.GetTrackingStatusRequest(), timeout=30)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]

        process.send_signal(signal.SIGTERM)

        assert waiting.until(lambda: _told(channel, READINESS) == NOT_SERVING, timeout_s=WAIT_S)
        assert _told(channel, LIVENESS) == SERVING
        assert process.poll() is None


# A server without services, which the first time cannot tell whether it is ready.
_UNSURE = """
import asyncio, sys
from services.common.auth import NoAuthentication
from services.common.rpc.pipeline import EveryoneMayEverything, Pipeline
from services.common.rpc.server import serve
from services.common.settings import Address

asked = 0

async def ready():
    global asked
    asked += 1
    if asked == 1:
        raise RuntimeError("as if the code were wrong")
    return True

pipeline = Pipeline(NoAuthentication(), EveryoneMayEverything())
listen = Address.parse(sys.argv[1])
asyncio.run(serve([], listen=listen, pipeline=pipeline, ready=ready, with_reflection=False, drain_notice_s=0))
"""


def test_who_once_could_not_tell_whether_it_is_ready_looks_again() -> None:
    address = str(Address(LOOPBACK, ports.choose(LOOPBACK)))
    with subprocess.Popen([sys.executable, "-c", _UNSURE, address]) as process:
        try:
            assert waiting.until(lambda: is_ready_at(address), timeout_s=WAIT_S)
        finally:
            process.kill()
