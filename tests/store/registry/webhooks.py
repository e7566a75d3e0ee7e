"""Webhooks and deliveries for tests of the database, with only what matters spelled out."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet

from services.common.database import Database
from services.registry.deliveries import store
from services.registry.deliveries.model import Claim, Status, Verdict
from services.registry.deliveries.noting import note
from services.registry.deliveries.planning import plan
from services.registry.delivery_logs.service import DeliveryLogs
from services.registry.webhooks.model import Wanted, Webhook
from services.registry.webhooks.networks import Networks, parse_networks
from services.registry.webhooks.outcomes import Failure, Outcome
from services.registry.webhooks.sealing import Sealer
from services.registry.webhooks.sending import Sender
from services.registry.webhooks.service import Webhooks
from services.registry.webhooks.vocabulary import Dialect
from tests.receivers import Received
from tests.store.registry.factories import CALLER, PAGES, now_ms

NETWORKS = Networks(allowed=parse_networks(["127.0.0.0/8"]), plain_http=True)
SEALER = Sealer([Fernet.generate_key().decode()])
URL = "http://127.0.0.1:9/hook"
EVENTS = ("model_version.created", "model_version_tag.set")
DELIVERED = Outcome(duration_ms=1, response_status=200)
_SETTLE_S = 60
_IS_SETTLED = """
    SELECT coalesce(max(transaction_id), 0) < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint
    FROM events
"""
FAILED = Outcome(duration_ms=1, response_status=500, failure=Failure.BAD_STATUS)


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """The use-cases of webhooks over one database."""

    db: Database
    webhooks: Webhooks
    logs: DeliveryLogs

    @classmethod
    def over(cls, db: Database) -> "Hooks":
        webhooks = Webhooks(
            db=db, pages=PAGES, now_ms=now_ms, networks=NETWORKS, sealer=SEALER, sender=Sender(NETWORKS)
        )
        return cls(db=db, webhooks=webhooks, logs=DeliveryLogs(db=db, pages=PAGES))

    async def add(self, *, dialect: Dialect = Dialect.MLFLOW, model_name: str = "", **given: Any) -> Webhook:
        events = EVENTS if dialect is Dialect.MLFLOW else ("MODEL_VERSION_CREATED",)
        wanted = Wanted(**{"name": "n", "url": URL, "subscriptions": events, **given})
        await self._settled()
        return await self.webhooks.create(wanted, dialect=dialect, model_name=model_name, caller=CALLER, request_id="")

    async def update(self, webhook: Webhook, **given: Any) -> Webhook:
        return await self.webhooks.update(webhook.webhook_id, Wanted(**given), dialect=webhook.dialect, caller=CALLER)

    async def planned(self, *, settles: bool = True) -> None:
        """Plan what there is to plan. What is committed counts once nobody has an older transaction open, autovacuum
        among others, which is waited for unless it is not to be.
        """
        if settles:
            await self._settled()
        while await plan(self.db):
            pass

    async def _settled(self) -> None:
        async with asyncio.timeout(_SETTLE_S):
            while True:
                async with self.db.pipeline() as tx:
                    [(is_settled,)] = await (await tx.execute(_IS_SETTLED)).fetchall()
                if is_settled:
                    return

    async def claim(
        self, *, limit: int = 1000, each_max: int = 1000, lease_s: float = 60, busy: dict[str, int] | None = None
    ) -> list[Claim]:
        async with self.db.pipeline() as tx:
            return await store.claim(tx, busy=busy or {}, each_max=each_max, limit=limit, lease_s=lease_s)

    async def finish(self, claim: Claim, outcome: Outcome = DELIVERED, *, delay_s: float | None = None) -> None:
        """Note what came of an attempt: without a delay, a failure is for good."""
        status = Status.DELIVERED if outcome.failure is None else Status.DEAD if delay_s is None else Status.PENDING
        await note(self.db, claim, outcome, Verdict(status=status, delay_s=delay_s))

    async def log(self, webhook: Webhook, *, status: Status | None = None) -> list[tuple[str, str, str | None]]:
        """Event, status and version of a webhook's deliveries, the oldest event first."""
        found, _ = await self.logs.list(
            webhook.webhook_id, status=status, max_results=1000, page_token="", caller=CALLER
        )
        return [(delivery.event, delivery.status.value, delivery.version) for delivery in reversed(found)]

    async def events(self, webhook: Webhook) -> Counter[str]:
        return Counter(event for event, _, _ in await self.log(webhook))


def versions(claims: Sequence[Claim]) -> list[int | None]:
    return [claim.happening.version for claim in claims]


def bodies(received: Sequence[Received]) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in received]
