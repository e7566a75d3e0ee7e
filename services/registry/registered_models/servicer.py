"""RegisteredModelService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import model_versions_pb2 as versions_pb
from modelstead.registry.v1 import registered_models_pb2 as pb
from services.common.codec import encode, encode_once
from services.common.rpc.call import Call
from services.registry.aliases.service import Aliases
from services.registry.lookups.service import Lookups
from services.registry.registered_models.service import RegisteredModels
from services.registry.transitions.requests import expected_of


class RegisteredModelServicer:
    """Serves the methods of modelstead.registry.v1.RegisteredModelService."""

    def __init__(self, models: RegisteredModels, aliases: Aliases, lookups: Lookups) -> None:
        self._models = models
        self._aliases = aliases
        self._lookups = lookups

    async def CreateRegisteredModel(
        self, request: pb.CreateRegisteredModelRequest, call: Call
    ) -> pb.CreateRegisteredModelResponse:
        model = await self._models.create(
            name=request.name,
            description=request.description,
            tags={tag.key: tag.value for tag in request.tags},
            caller=call.caller,
            request_id=request.request_id,
        )
        return pb.CreateRegisteredModelResponse(registered_model=encode(pb.RegisteredModel, model))

    async def GetRegisteredModel(
        self, request: pb.GetRegisteredModelRequest, call: Call
    ) -> pb.GetRegisteredModelResponse:
        model = await self._models.get(request.name)
        return pb.GetRegisteredModelResponse(registered_model=encode(pb.RegisteredModel, model))

    async def UpdateRegisteredModel(
        self, request: pb.UpdateRegisteredModelRequest, call: Call
    ) -> pb.UpdateRegisteredModelResponse:
        model = await self._models.describe(request.name, description=request.description, caller=call.caller)
        return pb.UpdateRegisteredModelResponse(registered_model=encode(pb.RegisteredModel, model))

    async def RenameRegisteredModel(
        self, request: pb.RenameRegisteredModelRequest, call: Call
    ) -> pb.RenameRegisteredModelResponse:
        model = await self._models.rename(request.name, new_name=request.new_name, caller=call.caller)
        return pb.RenameRegisteredModelResponse(registered_model=encode(pb.RegisteredModel, model))

    async def DeleteRegisteredModel(
        self, request: pb.DeleteRegisteredModelRequest, call: Call
    ) -> pb.DeleteRegisteredModelResponse:
        await self._models.delete(request.name, caller=call.caller)
        return pb.DeleteRegisteredModelResponse()

    async def SearchRegisteredModels(
        self, request: pb.SearchRegisteredModelsRequest, call: Call
    ) -> pb.SearchRegisteredModelsResponse:
        found, next_page_token = await self._models.search(
            filter_text=request.filter,
            order_by=request.order_by,
            max_results=request.max_results,
            page_token=request.page_token,
            caller=call.caller,
        )
        models = [encode(pb.RegisteredModel, model) for model in found]
        return pb.SearchRegisteredModelsResponse(registered_models=models, next_page_token=next_page_token)

    async def GetLatestVersions(self, request: pb.GetLatestVersionsRequest, call: Call) -> pb.GetLatestVersionsResponse:
        versions = await self._models.latest_versions(request.name, stages=request.stages)
        return pb.GetLatestVersionsResponse(
            model_versions=[encode(versions_pb.ModelVersion, version) for version in versions]
        )

    async def SetRegisteredModelTag(
        self, request: pb.SetRegisteredModelTagRequest, call: Call
    ) -> pb.SetRegisteredModelTagResponse:
        await self._models.set_tag(request.name, key=request.key, value=request.value, caller=call.caller)
        return pb.SetRegisteredModelTagResponse()

    async def DeleteRegisteredModelTag(
        self, request: pb.DeleteRegisteredModelTagRequest, call: Call
    ) -> pb.DeleteRegisteredModelTagResponse:
        await self._models.delete_tag(request.name, key=request.key, caller=call.caller)
        return pb.DeleteRegisteredModelTagResponse()

    async def SetRegisteredModelAlias(
        self, request: pb.SetRegisteredModelAliasRequest, call: Call
    ) -> pb.SetRegisteredModelAliasResponse:
        await self._aliases.set(
            request.name,
            request.alias,
            version=request.version,
            caller=call.caller,
            expected=expected_of(request),
        )
        return pb.SetRegisteredModelAliasResponse()

    async def DeleteRegisteredModelAlias(
        self, request: pb.DeleteRegisteredModelAliasRequest, call: Call
    ) -> pb.DeleteRegisteredModelAliasResponse:
        await self._aliases.delete(request.name, request.alias, caller=call.caller, expected=expected_of(request))
        return pb.DeleteRegisteredModelAliasResponse()

    async def GetModelVersionByAlias(self, request: pb.GetModelVersionByAliasRequest, call: Call) -> bytes:
        found = await self._lookups.by_alias(request.name, request.alias)
        return encode_once(pb.GetModelVersionByAliasResponse, found)
