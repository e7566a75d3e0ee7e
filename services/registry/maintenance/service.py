"""What operators can have done to what the registry keeps."""

from collections.abc import Callable
from dataclasses import dataclass

from services.common import idempotency
from services.common.database import Database


@dataclass(frozen=True, kw_only=True, slots=True)
class Maintenance:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch."""

    db: Database
    now_ms: Callable[[], int]

    async def forget_request_ids(self) -> int:
        """Delete idempotency keys older than seven days, or a bounded part of them. Returns how many."""
        return await idempotency.forget(self.db, now_ms=self.now_ms())
