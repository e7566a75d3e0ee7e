"""What people can see and do about deliveries: one public method is one transaction."""

from dataclasses import dataclass

from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.errors import InvalidArgument
from services.common.pages import PageTokens
from services.registry.deliveries import model
from services.registry.deliveries import store as deliveries_store
from services.registry.deliveries.model import Delivery
from services.registry.delivery_logs import store
from services.registry.webhooks import model as webhooks
from services.registry.webhooks.service import managed


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryLogs:
    """The use-cases."""

    db: Database
    pages: PageTokens

    async def list(
        self, webhook_id: str, *, status: model.Status | None, max_results: int, page_token: str, caller: Caller
    ) -> tuple[list[Delivery], str | None]:
        """Return a page of a webhook's deliveries, of the newest events first, and the token of the next one. Raises
        NotFound, InvalidArgument, PermissionDenied.
        """
        limit = webhooks.check_page_size(max_results)
        query = ["webhook-deliveries", webhook_id, status]
        before = self.pages.decode(page_token, query) if page_token else None
        async with self.db.pipeline() as tx:
            await managed(tx, webhook_id, caller)
            found = await store.read_page(
                tx, webhook_id, status=status, before=(before[0], before[1], before[2]) if before else None,
                limit=limit + 1,
            )  # fmt: skip
        page = found[:limit]
        token = None
        if len(found) > limit:
            last = page[-1]
            token = self.pages.encode([last.position.transaction_id, last.position.event_id, last.event], query)
        return page, token

    async def redeliver(self, webhook_id: str, delivery_id: str, *, caller: Caller) -> Delivery:
        """Have a delivery that has ended sent again. Raises NotFound, InvalidArgument, PermissionDenied."""
        async with self.db.pipeline() as tx:
            webhook = await managed(tx, webhook_id, caller, hold=True)
            if webhook.status is not webhooks.Status.ACTIVE:
                raise InvalidArgument(f"Webhook {webhook_id} is {webhook.status}: nothing is sent to it.")
            delivery = await _existing(tx, webhook_id, delivery_id)
            model.check_ended(delivery)
            await store.requeue(tx, delivery_id)
            await deliveries_store.release(tx, [webhook_id], registered_model_id=delivery.registered_model_id)
            return await _existing(tx, webhook_id, delivery_id)


async def _existing(tx: Driver, webhook_id: str, delivery_id: str) -> Delivery:
    found = await store.get(tx, webhook_id, delivery_id)
    if found is None:
        raise model.not_found(delivery_id, webhook_id)
    return found
