"""LoggedModelService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import logged_models_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.logged_models.model import OnDataset, model_order
from services.tracking.logged_models.service import LoggedModels


class LoggedModelServicer:
    """Serves the methods of modelstead.tracking.v1.LoggedModelService."""

    def __init__(self, models: LoggedModels) -> None:
        self._models = models

    async def CreateLoggedModel(self, request: pb.CreateLoggedModelRequest, call: Call) -> pb.CreateLoggedModelResponse:
        model = await self._models.create(
            experiment_id=request.experiment_id,
            name=request.name,
            model_type=request.model_type,
            source_run_id=request.source_run_id,
            params=dict(request.params),
            tags=dict(request.tags),
            caller=call.caller.name,
            request_id=request.request_id,
        )
        return pb.CreateLoggedModelResponse(model=encode(pb.LoggedModel, model))

    async def GetLoggedModel(self, request: pb.GetLoggedModelRequest, call: Call) -> pb.GetLoggedModelResponse:
        model = await self._models.get(request.model_id, allow_deleted=request.allow_deleted)
        return pb.GetLoggedModelResponse(model=encode(pb.LoggedModel, model))

    async def FinalizeLoggedModel(
        self, request: pb.FinalizeLoggedModelRequest, call: Call
    ) -> pb.FinalizeLoggedModelResponse:
        status = pb.LoggedModelInfo.Status.Name(request.status)
        model = await self._models.finalize(request.model_id, status=status)
        return pb.FinalizeLoggedModelResponse(model=encode(pb.LoggedModel, model))

    async def DeleteLoggedModel(self, request: pb.DeleteLoggedModelRequest, call: Call) -> pb.DeleteLoggedModelResponse:
        await self._models.delete(request.model_id)
        return pb.DeleteLoggedModelResponse()

    async def SearchLoggedModels(
        self, request: pb.SearchLoggedModelsRequest, call: Call
    ) -> pb.SearchLoggedModelsResponse:
        found, next_page_token = await self._models.search(
            experiment_ids=request.experiment_ids,
            filter_text=request.filter,
            datasets=[OnDataset(name=item.dataset_name, digest=item.dataset_digest) for item in request.datasets],
            order=[
                model_order(
                    item.field_name,
                    ascending=item.ascending,
                    on=OnDataset(name=item.dataset_name, digest=item.dataset_digest),
                )
                for item in request.order_by
            ],
            max_results=request.max_results,
            page_token=request.page_token,
        )
        models = [encode(pb.LoggedModel, model) for model in found]
        return pb.SearchLoggedModelsResponse(models=models, next_page_token=next_page_token)

    async def SetLoggedModelTags(
        self, request: pb.SetLoggedModelTagsRequest, call: Call
    ) -> pb.SetLoggedModelTagsResponse:
        await self._models.set_tags(request.model_id, {tag.key: tag.value for tag in request.tags})
        return pb.SetLoggedModelTagsResponse()

    async def DeleteLoggedModelTag(
        self, request: pb.DeleteLoggedModelTagRequest, call: Call
    ) -> pb.DeleteLoggedModelTagResponse:
        await self._models.delete_tag(request.model_id, key=request.tag_key)
        return pb.DeleteLoggedModelTagResponse()

    async def LogLoggedModelParams(
        self, request: pb.LogLoggedModelParamsRequest, call: Call
    ) -> pb.LogLoggedModelParamsResponse:
        await self._models.log_params(request.model_id, dict(request.params))
        return pb.LogLoggedModelParamsResponse()
