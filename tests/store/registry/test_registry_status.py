"""How deliveries are doing, as the registry's status tells it."""

import uuid
from typing import Any

from services.common.database import Database
from services.registry.deliveries.store import PENDING_MAX
from services.registry.status import store
from services.registry.status.model import Deliveries

_ADD_WEBHOOK = """
    INSERT INTO webhooks (
        webhook_id, dialect, name, description, url, events, sealed_secret, sealed_authorization,
        enable_ssl_verification, status, creation_timestamp, last_updated_timestamp, deleted_timestamp,
        transaction_id, event_id
    )
    VALUES (%(id)s, 'MLFLOW', 'w', '', 'https://x', '{}', '', '', true, 'ACTIVE', 1, 1, %(deleted)s, 1, 1)
"""

_ADD_DELIVERIES = """
    INSERT INTO webhook_deliveries (
        delivery_id, webhook_id, transaction_id, event_id, event, registered_model_id, status, attempts, create_time
    )
    SELECT gen_random_uuid(), %(id)s, i, i, 'e', 1, %(status)s, 0, now() - make_interval(secs => 100 - i)
    FROM generate_series(%(first)s::int, %(last)s::int) AS i
"""


async def _read(db: Database, *made: tuple[str, dict[str, Any]]) -> Deliveries:
    """Return what is told of these rows alone, which do not stay."""
    async with db.begin() as tx:
        driver: Any = (await tx.get_raw_connection()).driver_connection
        await driver.execute("DELETE FROM webhook_deliveries")
        await driver.execute("DELETE FROM webhooks")
        for statement, given in made:
            await driver.execute(statement, given)
        read = await store.deliveries(driver)
        await tx.rollback()
    return read


async def test_deliveries_are_counted_by_status_over_all_webhooks(registry_db: Database) -> None:
    first, second = uuid.uuid4().hex, uuid.uuid4().hex

    read = await _read(
        registry_db,
        (_ADD_WEBHOOK, {"id": first, "deleted": None}),
        (_ADD_WEBHOOK, {"id": second, "deleted": None}),
        (_ADD_DELIVERIES, {"id": first, "status": "PENDING", "first": 40, "last": 42}),
        (_ADD_DELIVERIES, {"id": second, "status": "PENDING", "first": 50, "last": 50}),
        (_ADD_DELIVERIES, {"id": second, "status": "DEAD", "first": 1, "last": 2}),
        (_ADD_DELIVERIES, {"id": second, "status": "DELIVERED", "first": 3, "last": 9}),
    )

    # The oldest that is pending was made 60 s ago.
    assert read == Deliveries(pending_count=4, dead_count=2, lag_ms=60_000)


async def test_deliveries_of_a_deleted_webhook_do_not_count(registry_db: Database) -> None:
    webhook = uuid.uuid4().hex

    read = await _read(
        registry_db,
        (_ADD_WEBHOOK, {"id": webhook, "deleted": 5}),
        (_ADD_DELIVERIES, {"id": webhook, "status": "PENDING", "first": 1, "last": 2}),
    )

    assert read == Deliveries(pending_count=0, dead_count=0, lag_ms=0)


async def test_of_one_webhook_no_more_count_than_the_bound(registry_db: Database) -> None:
    webhook = uuid.uuid4().hex

    read = await _read(
        registry_db,
        (_ADD_WEBHOOK, {"id": webhook, "deleted": None}),
        (_ADD_DELIVERIES, {"id": webhook, "status": "DEAD", "first": 1, "last": PENDING_MAX + 5}),
    )

    assert read.dead_count == PENDING_MAX
