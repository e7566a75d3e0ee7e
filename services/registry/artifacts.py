"""Asks the artifact service, over gRPC, whether there is anything at a source."""

import grpc.aio

from modelstead.artifacts.v1 import owned_artifacts_pb2, owned_artifacts_pb2_grpc
from services.common.auth import Asker
from services.common.rpc import peers
from services.common.settings import Address

# A store elsewhere has 15 s for each of its calls.
_TIMEOUT_S = 20.0


class ArtifactsClient:
    """A `services.registry.model_versions.model.Artifacts`: one channel, on which each call is the asker's own."""

    def __init__(self, address: Address) -> None:
        """Make it within a running event loop. Nothing is sent before something is asked."""
        self._channel = peers.connect(address)
        self._artifacts: owned_artifacts_pb2_grpc.OwnedArtifactServiceAsyncStub = (
            owned_artifacts_pb2_grpc.OwnedArtifactServiceStub(self._channel)
        )

    async def exist(self, uri: str, asker: Asker) -> bool:
        """Return whether there is anything at a URI. Raises InvalidArgument, as said there, and Unavailable."""
        request = owned_artifacts_pb2.ProbeArtifactsRequest(artifact_uri=uri)
        try:
            answer = await self._artifacts.ProbeArtifacts(request, timeout=_TIMEOUT_S, metadata=peers.metadata(asker))
        except grpc.aio.AioRpcError as error:
            raise peers.failure(error, service="artifact") from error
        return answer.found

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()
