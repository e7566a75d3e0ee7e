"""Asks the tracking service, over gRPC and with the credentials of whoever asked the registry."""

import contextlib
import json
from collections.abc import Iterator, Mapping

import grpc.aio

from modelstead.tracking.v1 import logged_models_pb2, logged_models_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.common import telemetry
from services.common.errors import (
    DeadlineExceeded,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from services.common.settings import Address
from services.registry.model_versions.model import LoggedModel

_TIMEOUT_S = 5.0
_RETRY_AFTER_S = 1.0
_OPTIONS = (
    # A run comes with all its metrics.
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # All addresses of a headless service share the load.
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
)
_ABSENT = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
_ERROR_OF_STATUS: Mapping[grpc.StatusCode, type[ServiceError]] = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}

_Metadata = tuple[tuple[str, str], ...]


class TrackingClient:
    """A `services.registry.model_versions.model.Tracking`; made within a running event loop."""

    def __init__(self, address: Address) -> None:
        self._channel = grpc.aio.insecure_channel(f"dns:///{address}", options=_OPTIONS)
        self._runs: runs_pb2_grpc.RunServiceAsyncStub = runs_pb2_grpc.RunServiceStub(self._channel)
        self._models: logged_models_pb2_grpc.LoggedModelServiceAsyncStub = (
            logged_models_pb2_grpc.LoggedModelServiceStub(self._channel)
        )

    async def run_artifact_uri(self, run_id: str, *, authorization: str | None) -> str | None:
        """Return where the artifacts of a run are, deleted or not; None if there is no such run."""
        request = runs_pb2.GetRunRequest(run_id=run_id)
        with _translated():
            try:
                answer = await self._runs.GetRun(request, timeout=_TIMEOUT_S, metadata=_metadata(authorization))
            except grpc.aio.AioRpcError as error:
                if error.code() in _ABSENT:
                    return None
                raise
        return answer.run.info.artifact_uri

    async def logged_model(self, model_id: str, *, authorization: str | None) -> LoggedModel | None:
        """Return a logged model; None if there is none, or it is deleted."""
        request = logged_models_pb2.GetLoggedModelRequest(model_id=model_id)
        with _translated():
            try:
                answer = await self._models.GetLoggedModel(
                    request, timeout=_TIMEOUT_S, metadata=_metadata(authorization)
                )
            except grpc.aio.AioRpcError as error:
                if error.code() in _ABSENT:
                    return None
                raise
        info = answer.model.info
        return LoggedModel(artifact_uri=info.artifact_uri, source_run_id=info.source_run_id)

    async def tag_logged_model(self, model_id: str, tags: Mapping[str, str], *, authorization: str | None) -> None:
        """Set tags of a logged model."""
        pairs = [logged_models_pb2.LoggedModelTag(key=key, value=value) for key, value in tags.items()]
        request = logged_models_pb2.SetLoggedModelTagsRequest(model_id=model_id, tags=pairs)
        with _translated():
            await self._models.SetLoggedModelTags(request, timeout=_TIMEOUT_S, metadata=_metadata(authorization))

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        await self._channel.close()


def _metadata(authorization: str | None) -> _Metadata:
    credentials = (("authorization", authorization),) if authorization is not None else ()
    return (*credentials, *telemetry.inject().items())


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        kind = _ERROR_OF_STATUS.get(error.code(), Unavailable)
        told = error.details() if kind in (Unauthenticated, PermissionDenied) else None
        raise kind(
            told or "The tracking service, which knows runs and logged models, did not answer; try again.",
            retry_after_s=None if told else _RETRY_AFTER_S,
        ) from error
