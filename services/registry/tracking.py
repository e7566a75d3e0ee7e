"""Asks the tracking service, over gRPC, about runs and logged models."""

from collections.abc import Mapping

import grpc.aio

from modelstead.tracking.v1 import logged_models_pb2, logged_models_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.common.auth import Asker
from services.common.errors import NotFound, ServiceError
from services.common.rpc import peers
from services.common.settings import Address
from services.registry.model_versions.model import LoggedModel

_TIMEOUT_S = 5.0


class TrackingClient:
    """A `services.registry.model_versions.model.Tracking`: one channel, on which each call is the asker's own."""

    def __init__(self, address: Address) -> None:
        """Make it within a running event loop."""
        self._channel = peers.connect(address)
        self._runs: runs_pb2_grpc.RunServiceAsyncStub = runs_pb2_grpc.RunServiceStub(self._channel)
        self._models: logged_models_pb2_grpc.LoggedModelServiceAsyncStub = (
            logged_models_pb2_grpc.LoggedModelServiceStub(self._channel)
        )

    async def run_artifact_uri(self, run_id: str, asker: Asker) -> str | None:
        """Return where the artifacts of a run are, deleted or not; None if there is no such run."""
        request = runs_pb2.GetRunRequest(run_id=run_id)
        try:
            answer = await self._runs.GetRun(request, timeout=_TIMEOUT_S, metadata=peers.metadata(asker))
        except grpc.aio.AioRpcError as error:
            _check_absent(error)
            return None
        return answer.run.info.artifact_uri

    async def logged_model(self, model_id: str, asker: Asker) -> LoggedModel | None:
        """Return a logged model; None if there is none, or it is deleted."""
        request = logged_models_pb2.GetLoggedModelRequest(model_id=model_id)
        try:
            answer = await self._models.GetLoggedModel(request, timeout=_TIMEOUT_S, metadata=peers.metadata(asker))
        except grpc.aio.AioRpcError as error:
            _check_absent(error)
            return None
        info = answer.model.info
        return LoggedModel(artifact_uri=info.artifact_uri, source_run_id=info.source_run_id)

    async def tag_logged_model(self, model_id: str, tags: Mapping[str, str], asker: Asker) -> None:
        """Set tags of a logged model. Raises what tracking says, such as NotFound; Unavailable."""
        pairs = [logged_models_pb2.LoggedModelTag(key=key, value=value) for key, value in tags.items()]
        request = logged_models_pb2.SetLoggedModelTagsRequest(model_id=model_id, tags=pairs)
        try:
            await self._models.SetLoggedModelTags(request, timeout=_TIMEOUT_S, metadata=peers.metadata(asker))
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()


def _check_absent(error: grpc.aio.AioRpcError) -> None:
    """Raises the failure of a call unless it says that there is no such thing."""
    failure = _failure(error)
    if failure.reason != NotFound.reason:
        raise failure from error


def _failure(error: grpc.aio.AioRpcError) -> ServiceError:
    return peers.failure(error, service="tracking")
