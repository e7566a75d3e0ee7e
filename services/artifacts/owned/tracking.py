"""Asks the tracking service, over gRPC, where the artifacts of runs and logged models are."""

import grpc.aio

from modelstead.tracking.v1 import logged_models_pb2, logged_models_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.artifacts.owned.model import Owner, OwnerKind
from services.common.auth import Asker
from services.common.rpc import peers
from services.common.settings import Address

TIMEOUT_S = 10.0


class TrackingOwners:
    """One channel to tracking. Every call carries the caller's own credentials, which tracking checks itself."""

    def __init__(self, address: Address) -> None:
        """Make it within a running event loop."""
        self._channel = peers.connect(address)
        self._runs: runs_pb2_grpc.RunServiceAsyncStub = runs_pb2_grpc.RunServiceStub(self._channel)
        self._models: logged_models_pb2_grpc.LoggedModelServiceAsyncStub = (
            logged_models_pb2_grpc.LoggedModelServiceStub(self._channel)
        )

    async def artifact_uri(self, owner: Owner, asker: Asker) -> str:
        """Return the URI of an owner's artifacts. Raises what tracking says, with its reason; Unavailable."""
        try:
            if owner.kind is OwnerKind.RUN:
                return await self._of_run(owner.id, asker)
            return await self._of_model(owner.id, asker)
        except grpc.aio.AioRpcError as error:
            raise peers.failure(error, service="tracking") from error

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def _of_run(self, run_id: str, asker: Asker) -> str:
        request = runs_pb2.GetRunRequest(run_id=run_id)
        answer = await self._runs.GetRun(request, metadata=peers.metadata(asker), timeout=TIMEOUT_S)
        return answer.run.info.artifact_uri

    async def _of_model(self, model_id: str, asker: Asker) -> str:
        request = logged_models_pb2.GetLoggedModelRequest(model_id=model_id)
        answer = await self._models.GetLoggedModel(request, metadata=peers.metadata(asker), timeout=TIMEOUT_S)
        return answer.model.info.artifact_uri
