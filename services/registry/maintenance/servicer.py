"""MaintenanceService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import maintenance_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.maintenance.service import Maintenance


class MaintenanceServicer:
    """Serves the methods of modelstead.registry.v1.MaintenanceService."""

    def __init__(self, maintenance: Maintenance) -> None:
        self._maintenance = maintenance

    async def ForgetRequestIds(self, request: pb.ForgetRequestIdsRequest, call: Call) -> pb.ForgetRequestIdsResponse:
        return pb.ForgetRequestIdsResponse(key_count=await self._maintenance.forget_request_ids())

    async def ResealWebhookSecrets(
        self, request: pb.ResealWebhookSecretsRequest, call: Call
    ) -> pb.ResealWebhookSecretsResponse:
        return encode(pb.ResealWebhookSecretsResponse, await self._maintenance.reseal_webhook_secrets())
