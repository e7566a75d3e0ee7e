"""RegistryStatusService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import status_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.status.service import Status


class RegistryStatusServicer:
    """Serves the methods of modelstead.registry.v1.RegistryStatusService."""

    def __init__(self, status: Status) -> None:
        self._status = status

    async def GetRegistryStatus(self, request: pb.GetRegistryStatusRequest, call: Call) -> pb.GetRegistryStatusResponse:
        return encode(pb.GetRegistryStatusResponse, await self._status.get())
