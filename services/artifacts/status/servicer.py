"""ArtifactsStatusService over gRPC: decode, one call, encode."""

from modelstead.artifacts.v1 import status_pb2 as pb
from services.artifacts.status.service import Status
from services.common.codec import encode
from services.common.rpc.call import Call


class ArtifactsStatusServicer:
    """Serves the methods of modelstead.artifacts.v1.ArtifactsStatusService."""

    def __init__(self, status: Status) -> None:
        self._status = status

    async def GetArtifactsStatus(
        self, request: pb.GetArtifactsStatusRequest, call: Call
    ) -> pb.GetArtifactsStatusResponse:
        return encode(pb.GetArtifactsStatusResponse, await self._status.get())
