"""VersionCheckService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import checks_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.checks.service import VersionChecks


class VersionCheckServicer:
    """Serves the methods of modelstead.registry.v1.VersionCheckService."""

    def __init__(self, checks: VersionChecks) -> None:
        self._checks = checks

    async def SetVersionCheck(self, request: pb.SetVersionCheckRequest, call: Call) -> pb.SetVersionCheckResponse:
        posted = await self._checks.set(
            request.name,
            request.version,
            check=request.check,
            state=pb.VersionCheck.State.Name(request.state),
            url=request.url,
            description=request.description,
            caller=call.caller,
        )
        return pb.SetVersionCheckResponse(check=encode(pb.VersionCheck, posted))

    async def ListVersionChecks(self, request: pb.ListVersionChecksRequest, call: Call) -> pb.ListVersionChecksResponse:
        found = await self._checks.list(request.name, request.version)
        return pb.ListVersionChecksResponse(checks=[encode(pb.VersionCheck, check) for check in found])
