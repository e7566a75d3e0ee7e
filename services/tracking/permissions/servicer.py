"""ExperimentPermissionService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import permissions_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.permissions.service import ExperimentPermissions


class ExperimentPermissionServicer:
    """Serves the methods of modelstead.tracking.v1.ExperimentPermissionService."""

    def __init__(self, permissions: ExperimentPermissions) -> None:
        self._permissions = permissions

    async def GetExperimentPermissions(
        self, request: pb.GetExperimentPermissionsRequest, call: Call
    ) -> pb.GetExperimentPermissionsResponse:
        permissions = await self._permissions.get(request.experiment_id)
        return encode(pb.GetExperimentPermissionsResponse, permissions)

    async def SetExperimentPermissions(
        self, request: pb.SetExperimentPermissionsRequest, call: Call
    ) -> pb.SetExperimentPermissionsResponse:
        permissions = await self._permissions.set(request.experiment_id, request.access_control_list)
        return encode(pb.SetExperimentPermissionsResponse, permissions)

    async def UpdateExperimentPermissions(
        self, request: pb.UpdateExperimentPermissionsRequest, call: Call
    ) -> pb.UpdateExperimentPermissionsResponse:
        permissions = await self._permissions.update(request.experiment_id, request.access_control_list)
        return encode(pb.UpdateExperimentPermissionsResponse, permissions)

    async def GetExperimentPermissionLevels(
        self, request: pb.GetExperimentPermissionLevelsRequest, call: Call
    ) -> pb.GetExperimentPermissionLevelsResponse:
        levels = await self._permissions.levels(request.experiment_id)
        return pb.GetExperimentPermissionLevelsResponse(
            permission_levels=[encode(pb.ExperimentPermissionsDescription, level) for level in levels]
        )
