"""RegisteredModelPermissionService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import permissions_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.permissions.granting import Granting


class RegisteredModelPermissionServicer:
    """Serves the methods of modelstead.registry.v1.RegisteredModelPermissionService."""

    def __init__(self, granting: Granting) -> None:
        self._granting = granting

    async def GetRegisteredModelDatabricks(
        self, request: pb.GetRegisteredModelDatabricksRequest, call: Call
    ) -> pb.GetRegisteredModelDatabricksResponse:
        standing = await self._granting.standing(request.name, caller=call.caller)
        return pb.GetRegisteredModelDatabricksResponse(
            registered_model_databricks=encode(pb.RegisteredModelDatabricks, standing)
        )

    async def GetRegisteredModelPermissions(
        self, request: pb.GetRegisteredModelPermissionsRequest, call: Call
    ) -> pb.GetRegisteredModelPermissionsResponse:
        permissions = await self._granting.get(request.registered_model_id, caller=call.caller)
        return encode(pb.GetRegisteredModelPermissionsResponse, permissions)

    async def SetRegisteredModelPermissions(
        self, request: pb.SetRegisteredModelPermissionsRequest, call: Call
    ) -> pb.SetRegisteredModelPermissionsResponse:
        permissions = await self._granting.set(
            request.registered_model_id, request.access_control_list, caller=call.caller
        )
        return encode(pb.SetRegisteredModelPermissionsResponse, permissions)

    async def UpdateRegisteredModelPermissions(
        self, request: pb.UpdateRegisteredModelPermissionsRequest, call: Call
    ) -> pb.UpdateRegisteredModelPermissionsResponse:
        permissions = await self._granting.update(
            request.registered_model_id, request.access_control_list, caller=call.caller
        )
        return encode(pb.UpdateRegisteredModelPermissionsResponse, permissions)

    async def GetRegisteredModelPermissionLevels(
        self, request: pb.GetRegisteredModelPermissionLevelsRequest, call: Call
    ) -> pb.GetRegisteredModelPermissionLevelsResponse:
        levels = await self._granting.levels(request.registered_model_id, caller=call.caller)
        return pb.GetRegisteredModelPermissionLevelsResponse(
            permission_levels=[encode(pb.RegisteredModelPermissionsDescription, level) for level in levels]
        )
