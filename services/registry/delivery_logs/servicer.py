"""WebhookDeliveryService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import webhook_deliveries_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.deliveries.model import Status
from services.registry.delivery_logs.service import DeliveryLogs


class WebhookDeliveryServicer:
    """Serves the methods of modelstead.registry.v1.WebhookDeliveryService."""

    def __init__(self, logs: DeliveryLogs) -> None:
        self._logs = logs

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, call: Call
    ) -> pb.ListWebhookDeliveriesResponse:
        found, next_page_token = await self._logs.list(
            request.webhook_id,
            status=Status(pb.WebhookDelivery.Status.Name(request.status)) if request.status else None,
            max_results=request.max_results,
            page_token=request.page_token,
            caller=call.caller,
        )
        deliveries = [encode(pb.WebhookDelivery, delivery) for delivery in found]
        return pb.ListWebhookDeliveriesResponse(deliveries=deliveries, next_page_token=next_page_token)

    async def RedeliverWebhookDelivery(
        self, request: pb.RedeliverWebhookDeliveryRequest, call: Call
    ) -> pb.RedeliverWebhookDeliveryResponse:
        delivery = await self._logs.redeliver(request.webhook_id, request.delivery_id, caller=call.caller)
        return pb.RedeliverWebhookDeliveryResponse(delivery=encode(pb.WebhookDelivery, delivery))
