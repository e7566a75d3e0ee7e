"""Asks the registry, over gRPC, where the files of model versions are."""

import grpc.aio

from modelstead.registry.v1 import model_versions_pb2, model_versions_pb2_grpc
from services.common.auth import Asker
from services.common.rpc import peers
from services.common.settings import Address

TIMEOUT_S = 10.0


class RegistryVersions:
    """One channel to the registry. Calls carry the caller's own credentials, which the registry checks itself."""

    def __init__(self, address: Address) -> None:
        """Make it within a running event loop. Nothing is sent before something is asked."""
        self._channel = peers.connect(address)
        self._versions: model_versions_pb2_grpc.ModelVersionServiceAsyncStub = (
            model_versions_pb2_grpc.ModelVersionServiceStub(self._channel)
        )

    async def artifact_uri(self, name: str, version: str, asker: Asker) -> str:
        """Return the URI of a version's files. Raises what the registry says, with its reason; Unavailable."""
        request = model_versions_pb2.GetModelVersionDownloadUriRequest(name=name, version=version)
        try:
            answer = await self._versions.GetModelVersionDownloadUri(
                request, metadata=peers.metadata(asker), timeout=TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            raise peers.failure(error, service="registry") from error
        return answer.artifact_uri

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()
