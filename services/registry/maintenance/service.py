"""What operators can have done to what the registry keeps."""

from collections.abc import Callable
from dataclasses import dataclass

from services.common import idempotency
from services.common.database import Database
from services.registry.webhooks import resealing
from services.registry.webhooks.model import Resealed
from services.registry.webhooks.sealing import Sealer


@dataclass(frozen=True, kw_only=True, slots=True)
class Maintenance:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch."""

    db: Database
    sealer: Sealer
    now_ms: Callable[[], int]

    async def forget_request_ids(self) -> int:
        """Delete idempotency keys older than seven days, or a bounded part of them. Returns how many."""
        return await idempotency.forget(self.db, now_ms=self.now_ms())

    async def reseal_webhook_secrets(self) -> Resealed:
        """Seal the secrets of webhooks under the newest key."""
        return await resealing.reseal(self.db, self.sealer)
