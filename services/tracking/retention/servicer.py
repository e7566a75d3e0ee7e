"""RetentionService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import retention_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.retention.service import Retention


class RetentionServicer:
    """Serves the methods of modelstead.tracking.v1.RetentionService."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention

    async def ListPurgeable(self, request: pb.ListPurgeableRequest, call: Call) -> pb.ListPurgeableResponse:
        found, next_page_token = await self._retention.list_purgeable(
            pb.Purgeable.Kind.Name(request.kind),
            deleted_before_ms=request.deleted_before_ms,
            max_results=request.max_results,
            page_token=request.page_token,
        )
        resources = [encode(pb.Purgeable, resource) for resource in found]
        return pb.ListPurgeableResponse(resources=resources, next_page_token=next_page_token)

    async def BeginPurge(self, request: pb.BeginPurgeRequest, call: Call) -> pb.BeginPurgeResponse:
        kind = pb.Purgeable.Kind.Name(request.kind)
        await self._retention.begin(kind, request.id, deleted_before_ms=request.deleted_before_ms)
        return pb.BeginPurgeResponse()

    async def Purge(self, request: pb.PurgeRequest, call: Call) -> pb.PurgeResponse:
        done = await self._retention.purge(pb.Purgeable.Kind.Name(request.kind), request.id)
        return pb.PurgeResponse(done=done)

    async def ForgetRequestIds(self, request: pb.ForgetRequestIdsRequest, call: Call) -> pb.ForgetRequestIdsResponse:
        return pb.ForgetRequestIdsResponse(key_count=await self._retention.forget_request_ids())
