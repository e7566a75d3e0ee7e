"""HistoryService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import history_pb2 as pb
from modelstead.registry.v1 import model_versions_pb2 as versions_pb
from modelstead.registry.v1 import registered_models_pb2 as models_pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.history.service import History


class HistoryServicer:
    """Serves the methods of modelstead.registry.v1.HistoryService."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def GetRegisteredModelAsOf(
        self, request: pb.GetRegisteredModelAsOfRequest, call: Call
    ) -> pb.GetRegisteredModelAsOfResponse:
        state, versions, next_page_token = await self._history.page_as_of(
            request.name,
            revision=request.revision if request.HasField("revision") else None,
            timestamp=request.timestamp if request.HasField("timestamp") else None,
            max_results=request.max_results,
            page_token=request.page_token,
            caller=call.caller,
        )
        return pb.GetRegisteredModelAsOfResponse(
            registered_model=encode(models_pb.RegisteredModel, state.registered_model()),
            model_versions=[encode(versions_pb.ModelVersion, version) for version in versions],
            revision=state.revision,
            next_page_token=next_page_token,
        )
