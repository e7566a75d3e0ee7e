"""ModelVersionService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import model_versions_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.model_versions.model import Draft
from services.registry.model_versions.service import ModelVersions
from services.registry.transitions.requests import expected_of


class ModelVersionServicer:
    """Serves the methods of modelstead.registry.v1.ModelVersionService."""

    def __init__(self, versions: ModelVersions) -> None:
        self._versions = versions

    async def CreateModelVersion(
        self, request: pb.CreateModelVersionRequest, call: Call
    ) -> pb.CreateModelVersionResponse:
        draft = Draft(
            name=request.name,
            source=request.source,
            run_id=request.run_id if request.HasField("run_id") else None,
            model_id=request.model_id or None,
            run_link=request.run_link,
            description=request.description,
            tags={tag.key: tag.value for tag in request.tags},
        )
        version = await self._versions.create(
            draft, caller=call.caller, asker=call.asker, request_id=request.request_id
        )
        return pb.CreateModelVersionResponse(model_version=encode(pb.ModelVersion, version))

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, call: Call) -> pb.GetModelVersionResponse:
        version = await self._versions.get(request.name, request.version)
        return pb.GetModelVersionResponse(model_version=encode(pb.ModelVersion, version))

    async def UpdateModelVersion(
        self, request: pb.UpdateModelVersionRequest, call: Call
    ) -> pb.UpdateModelVersionResponse:
        version = await self._versions.describe(
            request.name,
            request.version,
            description=request.description if request.HasField("description") else None,
            caller=call.caller,
        )
        return pb.UpdateModelVersionResponse(model_version=encode(pb.ModelVersion, version))

    async def TransitionModelVersionStage(
        self, request: pb.TransitionModelVersionStageRequest, call: Call
    ) -> pb.TransitionModelVersionStageResponse:
        version = await self._versions.transition(
            request.name,
            request.version,
            stage=request.stage,
            archive_existing_versions=request.archive_existing_versions,
            caller=call.caller,
            expected=expected_of(request),
        )
        return pb.TransitionModelVersionStageResponse(model_version=encode(pb.ModelVersion, version))

    async def DeleteModelVersion(
        self, request: pb.DeleteModelVersionRequest, call: Call
    ) -> pb.DeleteModelVersionResponse:
        await self._versions.delete(request.name, request.version, caller=call.caller)
        return pb.DeleteModelVersionResponse()

    async def SearchModelVersions(
        self, request: pb.SearchModelVersionsRequest, call: Call
    ) -> pb.SearchModelVersionsResponse:
        found, next_page_token = await self._versions.search(
            filter_text=request.filter,
            order_by=request.order_by,
            max_results=request.max_results,
            page_token=request.page_token,
            caller=call.caller,
        )
        versions = [encode(pb.ModelVersion, version) for version in found]
        return pb.SearchModelVersionsResponse(model_versions=versions, next_page_token=next_page_token)

    async def GetModelVersionDownloadUri(
        self, request: pb.GetModelVersionDownloadUriRequest, call: Call
    ) -> pb.GetModelVersionDownloadUriResponse:
        artifact_uri = await self._versions.download_uri(request.name, request.version)
        return pb.GetModelVersionDownloadUriResponse(artifact_uri=artifact_uri)

    async def SetModelVersionTag(
        self, request: pb.SetModelVersionTagRequest, call: Call
    ) -> pb.SetModelVersionTagResponse:
        await self._versions.set_tag(
            request.name, request.version, key=request.key, value=request.value, caller=call.caller
        )
        return pb.SetModelVersionTagResponse()

    async def DeleteModelVersionTag(
        self, request: pb.DeleteModelVersionTagRequest, call: Call
    ) -> pb.DeleteModelVersionTagResponse:
        await self._versions.delete_tag(request.name, request.version, key=request.key, caller=call.caller)
        return pb.DeleteModelVersionTagResponse()
