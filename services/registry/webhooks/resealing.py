"""Seals the secrets of all webhooks under the newest key."""

from services.common.database import Database, Driver
from services.common.errors import DataLoss
from services.registry.webhooks import store
from services.registry.webhooks.model import Resealed
from services.registry.webhooks.sealing import Sealer
from services.registry.webhooks.store import Sealed

_WEBHOOKS_PER_TRANSACTION = 200


async def reseal(db: Database, sealer: Sealer) -> Resealed:
    """Seal anew what is not sealed under the newest key; what changes meanwhile is sealed so by who changes it."""
    resealed = unreadable = 0
    last = ""
    while True:
        async with db.pipeline() as tx:
            page = await store.sealed(tx, after=last, limit=_WEBHOOKS_PER_TRANSACTION)
            for webhook in page:
                try:
                    resealed += await _reseal_one(tx, sealer, webhook)
                except DataLoss:
                    unreadable += 1
        if len(page) < _WEBHOOKS_PER_TRANSACTION:
            return Resealed(resealed_count=resealed, unreadable_count=unreadable)
        last = page[-1].webhook_id


async def _reseal_one(tx: Driver, sealer: Sealer, webhook: Sealed) -> bool:
    secret, authorization = sealer.reseal(webhook.secret), sealer.reseal(webhook.authorization)
    if (secret, authorization) == (webhook.secret, webhook.authorization):
        return False
    return await store.reseal(tx, webhook, secret=secret, authorization=authorization)
