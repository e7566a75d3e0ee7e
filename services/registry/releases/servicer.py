"""ReleaseService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import model_versions_pb2 as versions_pb
from modelstead.registry.v1 import releases_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.releases.model import ReleaseMove
from services.registry.releases.service import Releases
from services.registry.transitions.requests import expected_of


class ReleaseServicer:
    """Serves the methods of modelstead.registry.v1.ReleaseService."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    async def CreateRelease(self, request: pb.CreateReleaseRequest, call: Call) -> pb.CreateReleaseResponse:
        moves = [
            ReleaseMove(
                name=move.name,
                version=move.version,
                stage=move.stage,
                expected=expected_of(move),
                archive_existing_versions=move.archive_existing_versions,
            )
            for move in request.moves
        ]
        versions = await self._releases.create(moves, comment=request.comment, caller=call.caller)
        return pb.CreateReleaseResponse(
            model_versions=[encode(versions_pb.ModelVersion, version) for version in versions]
        )
