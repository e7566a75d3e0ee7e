"""TransitionRequestService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import activities_pb2
from modelstead.registry.v1 import transition_requests_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.transition_requests.service import TransitionRequests
from services.registry.transitions.requests import expected_of


class TransitionRequestServicer:
    """Serves the methods of modelstead.registry.v1.TransitionRequestService."""

    def __init__(self, requests: TransitionRequests) -> None:
        self._requests = requests

    async def CreateTransitionRequest(
        self, request: pb.CreateTransitionRequestRequest, call: Call
    ) -> pb.CreateTransitionRequestResponse:
        made = await self._requests.create(
            request.name, request.version, stage=request.stage, comment=request.comment, caller=call.caller
        )
        return pb.CreateTransitionRequestResponse(request=encode(pb.TransitionRequest, made))

    async def ApproveTransitionRequest(
        self, request: pb.ApproveTransitionRequestRequest, call: Call
    ) -> pb.ApproveTransitionRequestResponse:
        activity = await self._requests.approve(
            request.name,
            request.version,
            stage=request.stage,
            archive_existing_versions=request.archive_existing_versions,
            comment=request.comment,
            expected=expected_of(request),
            caller=call.caller,
        )
        return pb.ApproveTransitionRequestResponse(activity=encode(activities_pb2.Activity, activity))

    async def RejectTransitionRequest(
        self, request: pb.RejectTransitionRequestRequest, call: Call
    ) -> pb.RejectTransitionRequestResponse:
        activity = await self._requests.reject(
            request.name, request.version, stage=request.stage, comment=request.comment, caller=call.caller
        )
        return pb.RejectTransitionRequestResponse(activity=encode(activities_pb2.Activity, activity))

    async def DeleteTransitionRequest(
        self, request: pb.DeleteTransitionRequestRequest, call: Call
    ) -> pb.DeleteTransitionRequestResponse:
        activity = await self._requests.cancel(
            request.name,
            request.version,
            stage=request.stage,
            creator=request.creator,
            comment=request.comment,
            caller=call.caller,
        )
        return pb.DeleteTransitionRequestResponse(activity=encode(activities_pb2.Activity, activity))

    async def ListTransitionRequests(
        self, request: pb.ListTransitionRequestsRequest, call: Call
    ) -> pb.ListTransitionRequestsResponse:
        found = await self._requests.list(request.name, request.version, caller=call.caller)
        activities = [encode(activities_pb2.Activity, activity) for activity in found]
        return pb.ListTransitionRequestsResponse(requests=activities)

    async def SearchTransitionRequests(
        self, request: pb.SearchTransitionRequestsRequest, call: Call
    ) -> pb.SearchTransitionRequestsResponse:
        found, next_page_token = await self._requests.search(
            request.name, max_results=request.max_results, page_token=request.page_token, caller=call.caller
        )
        requests = [encode(pb.OpenTransitionRequest, one) for one in found]
        return pb.SearchTransitionRequestsResponse(requests=requests, next_page_token=next_page_token)

    async def TransitionStage(self, request: pb.TransitionStageRequest, call: Call) -> pb.TransitionStageResponse:
        moved = await self._requests.transition(
            request.name,
            request.version,
            stage=request.stage,
            archive_existing_versions=request.archive_existing_versions,
            comment=request.comment,
            expected=expected_of(request),
            caller=call.caller,
        )
        return pb.TransitionStageResponse(model_version_databricks=encode(pb.ModelVersionDatabricks, moved))
