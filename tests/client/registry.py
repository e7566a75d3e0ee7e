"""A registry for tests of its clients: a real gRPC server that says what a test wants, when the test wants it."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelstead.registry.v1 import lookups_pb2 as pb
from modelstead.registry.v1 import lookups_pb2_grpc as pb_grpc
from services.common.rpc.server import OPTIONS

HEARTBEAT = pb.WatchModelsResponse()


def version(name: str, number: int, *, stage: str = "None", aliases: tuple[str, ...] = ()) -> pb.ResolvedVersion:
    return pb.ResolvedVersion(
        name=name, version=str(number), current_stage=stage, source=f"s3://b/{name}/{number}",
        download_uri=f"s3://b/{name}/{number}/files", run_id=f"run{number}", tags={"k": str(number)}, aliases=aliases,
    )  # fmt: skip


def state(name: str, revision: int, *versions: pb.ResolvedVersion, exists: bool = True) -> pb.ModelState:
    latest = max((int(one.version) for one in versions), default=0)
    return pb.ModelState(
        name=name, revision=revision, exists=exists, versions=versions, latest_version=str(latest) if latest else ""
    )


class _Healthy(health_pb2_grpc.HealthServicer):
    """Tells that all is well. grpcio's own stops the whole server when a watch ends while another one begins."""

    def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[health_pb2.HealthCheckResponse]:
        ended = threading.Event()
        if context.add_callback(ended.set):
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
            ended.wait()


class Registry(pb_grpc.LookupServiceServicer):
    """Serves `states`, by name; `set` tells whoever watches. A token is the number of changes told before.

    `others` are versions that are only told when asked for by number; `refused` are names that nobody may read.
    """

    def __init__(self, *, tls: grpc.ServerCredentials | None = None) -> None:
        self._tls = tls
        self.states: dict[str, pb.ModelState] = {}
        self.others: dict[tuple[str, str], pb.ResolvedVersion] = {}
        self.refused: set[str] = set()
        self.watches: list[pb.WatchModelsRequest] = []
        self.asked: list[pb.ResolveModelRequest] = []
        self.credentials: list[str] = []
        self.port = 0
        self._log: list[str] = []
        self._lock = threading.Lock()
        self._streams: list[tuple[set[str], queue.Queue[Any]]] = []
        self._server: grpc.Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start at the same port as before."""
        options = (*OPTIONS, ("grpc.so_reuseport", 0))
        self._server = grpc.server(futures.ThreadPoolExecutor(80), options=options)
        pb_grpc.add_LookupServiceServicer_to_server(self, self._server)
        # Clients watch whether a server goes on, as those of ours say.
        health_pb2_grpc.add_HealthServicer_to_server(_Healthy(), self._server)
        if self._tls:
            self.port = self._server.add_secure_port(self.address, self._tls)
        else:
            self.port = self._server.add_insecure_port(self.address)
        self._server.start()

    def kill(self) -> None:
        """Cut every call and the port."""
        if self._server:
            self.end_streams()
            self._server.stop(0).wait()
            self._server = None

    def set(self, *states: pb.ModelState) -> None:
        """Let models be at a state and tell it."""
        with self._lock:
            for one in states:
                self.states[one.name] = one
                self._log.append(one.name)
                message = pb.WatchModelsResponse(model=one, resume_token=str(len(self._log)))
                for names, stream in self._streams:
                    if one.name in names:
                        stream.put(message)

    def say(self, message: pb.WatchModelsResponse) -> None:
        """Send something to all streams as it is."""
        with self._lock:
            for _, stream in self._streams:
                stream.put(message)

    def end_streams(self) -> None:
        """End all streams, as a registry does from time to time."""
        with self._lock:
            for _, stream in self._streams:
                stream.put(None)
            self._streams.clear()

    def WatchModels(
        self, request: pb.WatchModelsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchModelsResponse]:
        credential = dict(context.invocation_metadata()).get("authorization", "")
        is_refused = bool(self.refused & set(request.names))
        stream: queue.Queue[Any] = queue.Queue()
        with self._lock:
            # Together with the stream: whoever sees a watch can end it.
            self.watches.append(request)
            self.credentials.append(credential)
            entry = (set(request.names), stream)
            if not is_refused:
                self._streams.append(entry)
            since = int(request.resume_token or 0)
            changed = set(self._log[since:]) if request.resume_token else set(request.names)
            for name in request.names:
                if name in changed:
                    model = self.states.get(name) or state(name, 0, exists=False)
                    stream.put(pb.WatchModelsResponse(model=model, resume_token=str(len(self._log))))
            stream.put(pb.WatchModelsResponse(resume_token=str(len(self._log))))
        if is_refused:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Permission denied")
        context.add_callback(lambda: stream.put(None))
        with contextlib.suppress(ValueError):
            yield from iter(stream.get, None)
        with self._lock:
            if entry in self._streams:
                self._streams.remove(entry)

    def ResolveModel(self, request: pb.ResolveModelRequest, context: grpc.ServicerContext) -> pb.ResolveModelResponse:
        self.asked.append(request)
        if request.name in self.refused:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Permission denied")
        model = self.states.get(request.name)
        found = self.others.get((request.name, request.version))
        if model is None or found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "not found")
            raise AssertionError
        return pb.ResolveModelResponse(model_version=found, revision=model.revision)
