"""What a server tells of itself by the standard health service: to probes, and to clients that choose among servers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LIVENESS, READINESS = "liveness", "readiness"
# The server as a whole: clients that ask for nothing else watch it, and those of ours send no call to one that stops.
OVERALL = ""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):
    """Answers probes at any time."""

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {OVERALL: _SERVING}
        self._is_draining = self._has_ended = False
        self._changed = asyncio.Event()

    def set(self, service: str, *, serves: bool) -> None:
        """Tell whether a service is as its name says. Does nothing once the server stops."""
        if not self._is_draining:
            self._tell(service, serves)

    def drain(self) -> None:
        """Tell, from now on, that the server takes no more calls, but lives."""
        self._is_draining = True
        for service in (OVERALL, READINESS):
            self._tell(service, False)

    def end(self) -> None:
        """End the watches: a server that stops would wait for them. Not before: clients begin them again at once."""
        self._has_ended = True
        self._wake()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse | None:
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        told = None
        while True:
            changed, status = self._changed, self._statuses.get(request.service, _UNKNOWN)
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            if self._has_ended:
                return
            await changed.wait()

    def _tell(self, service: str, serves: bool) -> None:
        self._statuses[service] = _SERVING if serves else _NOT_SERVING
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
