"""A real gRPC server with tiny services behind a real gateway, both within the test's event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import httpx
from google.api import httpbody_pb2
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from modelstead import http_pb2
from modelstead.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from modelstead.registry.v1 import lookups_pb2, lookups_pb2_grpc, registered_models_pb2, registered_models_pb2_grpc
from modelstead.tracking.v1 import metrics_pb2, metrics_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.common.auth import AuthKind, authenticator
from services.common.rpc.server import OPTIONS
from services.common.settings import Address
from services.gateway import catalog
from services.gateway.__main__ import build
from services.gateway.app import Gateway
from services.gateway.server import Server
from services.gateway.settings import Settings

JSON = {"content-type": "application/json"}
API = "/api/2.0/mlflow"
# How long a machine that does other work may take over anything; less than the 30 s after which the gateway gives up by
# itself, so that what comes in time did not come of that.
WAIT_S = 25.0
# A port at which nobody listens.
_NOBODY = 1

Failure = tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]
_Answer = TypeVar("_Answer")


@dataclass(kw_only=True)
class Script:
    """What the backend is to do, and what it has seen."""

    run_error: Failure | None = None
    points: list[metrics_pb2.GetMetricHistoryResponse] = field(default_factory=list)
    points_error: Failure | None = None
    updates: list[lookups_pb2.WatchModelsResponse] = field(default_factory=list)
    hold: asyncio.Event | None = None
    requests: list[Any] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    deadline_s: float | None = None
    sent: int = 0
    contents: bytearray = field(default_factory=bytearray)
    piece_sizes: list[int] = field(default_factory=list)
    artifact_error: Failure | None = None
    # After how many pieces of a body the error comes.
    pieces_taken: int | None = None
    head: http_pb2.HttpHead | None = None
    answer: list[bytes] = field(default_factory=lambda: [b""])
    called: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, request: Any, context: Any) -> None:
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        self.deadline_s = context.time_remaining()
        self.called.set()

    def take(self, request: artifacts_pb2.UploadArtifactRequest) -> int:
        if request.content.data:
            self.contents += request.content.data
            self.piece_sizes.append(len(request.content.data))
        return len(request.content.data)

    async def wait(self) -> None:
        if self.hold is not None:
            await self.hold.wait()

    @contextlib.contextmanager
    def noting_its_end(self) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise


class Runs(runs_pb2_grpc.RunServiceServicer):
    def __init__(self, backend: "Backend") -> None:
        self._backend = backend

    async def GetRun(self, request: runs_pb2.GetRunRequest, context: Any) -> runs_pb2.GetRunResponse:
        script = self._backend.script
        script.note(request, context)
        with script.noting_its_end():
            await script.wait()
        if script.run_error is not None:
            await context.abort(*script.run_error)
        return runs_pb2.GetRunResponse(run=runs_pb2.Run(info=runs_pb2.RunInfo(run_id=request.run_id, start_time=7)))

    async def CreateRun(self, request: runs_pb2.CreateRunRequest, context: Any) -> runs_pb2.CreateRunResponse:
        self._backend.script.note(request, context)
        return runs_pb2.CreateRunResponse()

    async def LogBatch(self, request: runs_pb2.LogBatchRequest, context: Any) -> runs_pb2.LogBatchResponse:
        self._backend.script.note(request, context)
        return runs_pb2.LogBatchResponse()


class Metrics(metrics_pb2_grpc.MetricServiceServicer):
    def __init__(self, backend: "Backend") -> None:
        self._backend = backend

    async def GetMetricHistory(
        self, request: metrics_pb2.GetMetricHistoryRequest, context: Any
    ) -> AsyncIterator[metrics_pb2.GetMetricHistoryResponse]:
        script = self._backend.script
        script.note(request, context)
        with script.noting_its_end():
            for message in script.points:
                yield message
                script.sent += 1
                script.answered.set()
            await script.wait()
        if script.points_error is not None:
            await context.abort(*script.points_error)


class Artifacts(artifacts_pb2_grpc.ArtifactServiceServicer):
    def __init__(self, backend: "Backend") -> None:
        self._backend = backend

    async def UploadArtifact(
        self, requests: AsyncIterator[artifacts_pb2.UploadArtifactRequest], context: Any
    ) -> artifacts_pb2.UploadArtifactResponse:
        script = self._backend.script
        with script.noting_its_end():
            first = await anext(requests)
            script.note(first, context)
            size = script.take(first)
            await script.wait()
            last = first
            while script.pieces_taken is None or len(script.piece_sizes) < script.pieces_taken:
                try:
                    last = await anext(requests)
                except StopAsyncIteration:
                    # It had all the bytes that were said to come, or the mark after them; else it was broken off.
                    if not (size == first.size if first.HasField("size") else last.ByteSize() == 0):
                        script.cancelled.set()
                        await context.abort(grpc.StatusCode.CANCELLED, "")
                    break
                size += script.take(last)
        if script.artifact_error is not None:
            await context.abort(*script.artifact_error)
        script.answered.set()
        return artifacts_pb2.UploadArtifactResponse()

    async def DownloadArtifact(
        self, request: artifacts_pb2.DownloadArtifactRequest, context: Any
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        script = self._backend.script
        script.note(request, context)
        first = httpbody_pb2.HttpBody(content_type="text/plain")
        if script.head is not None:
            first.extensions.add().Pack(script.head)
        with script.noting_its_end():
            for piece in script.answer:
                first.data = piece
                yield first
                first = httpbody_pb2.HttpBody()
                script.sent += 1
                script.answered.set()
            await script.wait()
        if script.artifact_error is not None:
            await context.abort(*script.artifact_error)

    async def ListArtifacts(
        self, request: artifacts_pb2.ListArtifactsRequest, context: Any
    ) -> artifacts_pb2.ListArtifactsResponse:
        self._backend.script.note(request, context)
        return artifacts_pb2.ListArtifactsResponse()

    async def DeleteArtifact(
        self, request: artifacts_pb2.DeleteArtifactRequest, context: Any
    ) -> artifacts_pb2.DeleteArtifactResponse:
        self._backend.script.note(request, context)
        return artifacts_pb2.DeleteArtifactResponse()


class RegisteredModels(registered_models_pb2_grpc.RegisteredModelServiceServicer):
    def __init__(self, backend: "Backend") -> None:
        self._backend = backend

    async def DeleteRegisteredModel(
        self, request: registered_models_pb2.DeleteRegisteredModelRequest, context: Any
    ) -> registered_models_pb2.DeleteRegisteredModelResponse:
        self._backend.script.note(request, context)
        return registered_models_pb2.DeleteRegisteredModelResponse()


class Lookups(lookups_pb2_grpc.LookupServiceServicer):
    def __init__(self, backend: "Backend") -> None:
        self._backend = backend

    async def WatchModels(
        self, request: lookups_pb2.WatchModelsRequest, context: Any
    ) -> AsyncIterator[lookups_pb2.WatchModelsResponse]:
        script = self._backend.script
        script.note(request, context)
        with script.noting_its_end():
            for message in script.updates:
                yield message
            await script.wait()
        if script.run_error is not None:
            await context.abort(*script.run_error)


class Backend:
    """The gRPC server; `script` is to be renewed between tests that share it."""

    def __init__(self) -> None:
        self.script = Script()
        self.health = HealthServicer()
        self.port = 0
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", 0)))
        runs: Any = Runs  # What it leaves out is unimplemented, as is meant.
        metrics: Any = Metrics
        artifacts: Any = Artifacts
        lookups: Any = Lookups
        lookups_pb2_grpc.add_LookupServiceServicer_to_server(lookups(self), self._server)
        runs_pb2_grpc.add_RunServiceServicer_to_server(runs(self), self._server)
        metrics_pb2_grpc.add_MetricServiceServicer_to_server(metrics(self), self._server)
        artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(artifacts(self), self._server)
        models: Any = RegisteredModels
        registered_models_pb2_grpc.add_RegisteredModelServiceServicer_to_server(models(self), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()
        await self.set_ready(True)

    async def set_ready(self, ready: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await self.health.set("readiness", status)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
        self._server = None


@dataclass(kw_only=True)
class Platform:
    """A gateway at `url`, its backend, and a client of it."""

    url: str
    port: int
    backend: Backend
    gateway: Gateway
    client: httpx.AsyncClient

    @property
    def script(self) -> Script:
        return self.backend.script

    async def get_run(self, run_id: str = "a", **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(f"{API}/runs/get", params={"run_id": run_id}, headers=names)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] = JSON) -> httpx.Response:
        sent = {"content": body} if isinstance(body, bytes) else {"json": body}
        return await self.client.post(f"{API}/{path}", headers=dict(headers), **sent)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes on a connection of their own and return all that comes back until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        try:
            return await reader.read()
        finally:
            writer.close()


async def until(
    ask: Callable[[], Awaitable[_Answer]], done: Callable[[_Answer], bool], *, within_s: float = WAIT_S
) -> _Answer:
    """Ask again and again until the answer will do, and return it."""
    async with asyncio.timeout(within_s):
        while True:
            answer = await ask()
            if done(answer):
                return answer
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def platform(
    *,
    tokens_file: Path | None = None,
    auth: AuthKind | None = None,
    allowed_hosts: tuple[str, ...] = (),
    presigned_artifacts: bool = False,
    public_tracking_address: str = "",
    ui_folder: Path | None = None,
    root_path: str = "",
    is_registry_there: bool = True,
) -> AsyncIterator[Platform]:
    """Run a backend and a gateway with these settings for the length of the block."""
    backend = Backend()
    await backend.start()
    settings = Settings(
        tracking_address=Address("127.0.0.1", backend.port),
        artifacts_address=Address("127.0.0.1", backend.port),
        registry_address=Address("127.0.0.1", backend.port if is_registry_there else _NOBODY),
        auth=auth or (AuthKind.TOKENS if tokens_file else AuthKind.NONE),
        tokens_file=tokens_file,
        allowed_hosts=allowed_hosts,
        presigned_artifacts=presigned_artifacts,
        public_tracking_address=public_tracking_address,
        ui=ui_folder is not None,
        ui_folder=ui_folder or Path("/nowhere"),
        root_path=root_path,
    )
    known = authenticator(settings.auth, tokens_file=tokens_file, listen=settings.listen)
    connections, gateway = build(settings, catalog.backends(settings), known)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = _Server(gateway)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            yield Platform(url=url, port=port, backend=backend, gateway=gateway, client=client)
    finally:
        server.stop()
        server.force_exit = True
        await serving
        await connections.close()
        await backend.stop()


class _Server(Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the test's own process."""
        yield


def details(reason: str, message: str, *, retry_after_s: float | None = None) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata with which a service of ours tells an error's reason."""
    status = status_pb2.Status(message=message)
    attached: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="modelstead")]
    if retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(retry_after_s * 1000))
        attached.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in attached:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)
