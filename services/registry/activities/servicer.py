"""ActivityService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import activities_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.activities.service import Activities


class ActivityServicer:
    """Serves the methods of modelstead.registry.v1.ActivityService."""

    def __init__(self, activities: Activities) -> None:
        self._activities = activities

    async def ListActivities(self, request: pb.ListActivitiesRequest, call: Call) -> pb.ListActivitiesResponse:
        found, next_page_token = await self._activities.list(
            request.name,
            version=request.version,
            max_results=request.max_results,
            page_token=request.page_token,
        )
        activities = [encode(pb.Activity, activity) for activity in found]
        return pb.ListActivitiesResponse(activities=activities, next_page_token=next_page_token)
