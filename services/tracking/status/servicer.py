"""TrackingStatusService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import status_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.status.service import Status


class TrackingStatusServicer:
    """Serves the methods of modelstead.tracking.v1.TrackingStatusService."""

    def __init__(self, status: Status) -> None:
        self._status = status

    async def GetTrackingStatus(self, request: pb.GetTrackingStatusRequest, call: Call) -> pb.GetTrackingStatusResponse:
        return encode(pb.GetTrackingStatusResponse, await self._status.get())
