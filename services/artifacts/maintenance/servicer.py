"""MaintenanceService over gRPC: decode, one call, encode."""

from collections.abc import AsyncIterator

from modelstead.artifacts.v1 import maintenance_pb2 as pb
from services.artifacts.maintenance.model import Finding, Totals
from services.artifacts.maintenance.service import Maintenance
from services.common.codec import encode
from services.common.rpc.call import Call


class MaintenanceServicer:
    """Serves the methods of modelstead.artifacts.v1.MaintenanceService."""

    def __init__(self, maintenance: Maintenance) -> None:
        self._maintenance = maintenance

    async def DeleteTree(self, request: pb.DeleteTreeRequest, call: Call) -> pb.DeleteTreeResponse:
        return pb.DeleteTreeResponse(file_count=await self._maintenance.delete_tree(request.artifact_uri))

    async def CheckObjects(self, request: pb.CheckObjectsRequest, call: Call) -> AsyncIterator[pb.CheckObjectsResponse]:
        async for result in self._maintenance.check(deep=request.deep):
            yield _response(result)

    async def Sweep(self, request: pb.SweepRequest, call: Call) -> pb.SweepResponse:
        swept = await self._maintenance.sweep(ttl_s=request.ttl_s if request.HasField("ttl_s") else None)
        return encode(pb.SweepResponse, swept)


def _response(result: Finding | Totals) -> pb.CheckObjectsResponse:
    if isinstance(result, Totals):
        return encode(pb.CheckObjectsResponse, result)
    finding = pb.Finding(
        problem=pb.Finding.Problem.Value(result.problem.value),
        object_key=result.object_key,
        paths=result.paths,
        detail=result.detail,
    )
    return pb.CheckObjectsResponse(finding=finding)
