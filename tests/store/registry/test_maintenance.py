"""What operators have done to the registry's tables."""

import uuid

from services.common.database import Database
from services.registry.maintenance.service import Maintenance

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

    count = await Maintenance(db=registry_db, now_ms=lambda: now_s * 1000).forget_request_ids()

    async with registry_db.pipeline() as tx:
        left = await (
            await tx.execute("SELECT request_id FROM idempotency_keys WHERE caller = %s", (caller,))
        ).fetchall()
    assert count >= 1
    assert left == [("young",)]
