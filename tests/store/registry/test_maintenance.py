"""What operators have done to the registry's tables."""

import dataclasses
import uuid
from typing import Any

import pytest
from cryptography.fernet import Fernet

from services.common.database import Database
from services.registry.maintenance.service import Maintenance
from services.registry.webhooks import resealing
from services.registry.webhooks.model import Webhook
from services.registry.webhooks.sealing import Sealer
from services.registry.webhooks.vocabulary import Dialect
from tests.store.registry.factories import CALLER
from tests.store.registry.webhooks import Hooks

DAY_S = 24 * 3600


async def test_idempotency_keys_are_forgotten_after_seven_days(registry_db: Database) -> None:
    caller, now_s = uuid.uuid4().hex, 2_000_000_000
    async with registry_db.pipeline() as tx:
        for request_id, age_s in (("old", 7 * DAY_S + 1), ("young", 7 * DAY_S - 1)):
            await tx.execute(
                """
                INSERT INTO idempotency_keys (caller, operation, request_id, fingerprint, create_time)
                VALUES (%s, 'CreateModelVersion', %s, '', to_timestamp(%s))
                """,
                (caller, request_id, now_s - age_s),
            )

    count = await Maintenance(db=registry_db, sealer=Sealer(()), now_ms=lambda: now_s * 1000).forget_request_ids()

    async with registry_db.pipeline() as tx:
        left = await (
            await tx.execute("SELECT request_id FROM idempotency_keys WHERE caller = %s", (caller,))
        ).fetchall()
    assert count >= 1
    assert left == [("young",)]


async def test_secrets_are_sealed_under_the_newest_key(registry_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, lost = (Fernet.generate_key().decode() for _ in range(3))
    monkeypatch.setattr(resealing, "_WEBHOOKS_PER_TRANSACTION", 1)
    hooks = Hooks.over(registry_db)
    secret, unreadable = await _sealed(hooks, old, secret="one"), await _sealed(hooks, lost, secret="two")
    authorization = await _sealed(hooks, old, dialect=Dialect.DATABRICKS, authorization="Bearer three")
    maintenance = Maintenance(db=registry_db, sealer=Sealer([new, old]), now_ms=lambda: 1)

    first, second = [await maintenance.reseal_webhook_secrets() for _ in range(2)]

    assert (first.resealed_count, second.resealed_count) == (2, 0)
    assert first.unreadable_count == second.unreadable_count >= 1
    newest = Sealer([new])
    assert newest.open((await _stored(hooks, secret)).sealed_secret) == "one"
    assert newest.open((await _stored(hooks, authorization)).sealed_authorization) == "Bearer three"
    assert Sealer([lost]).open((await _stored(hooks, unreadable)).sealed_secret) == "two"


async def _sealed(hooks: Hooks, key: str, **given: Any) -> Webhook:
    webhooks = dataclasses.replace(hooks.webhooks, sealer=Sealer([key]))
    return await dataclasses.replace(hooks, webhooks=webhooks).add(**given)


async def _stored(hooks: Hooks, webhook: Webhook) -> Webhook:
    return await hooks.webhooks.get(webhook.webhook_id, dialect=webhook.dialect, caller=CALLER)
