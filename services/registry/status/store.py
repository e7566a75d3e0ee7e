"""The SQL of how deliveries are doing: by webhook, of which there are at most 1,000, over indexes and with a bound."""

from services.common.database import Driver
from services.registry.deliveries.store import PENDING_MAX
from services.registry.status.model import Deliveries

# The oldest delivery is that of the oldest event, give or take what was under way at the same time.
_SELECT_DELIVERIES = """
    SELECT
        coalesce(sum(pending.count), 0)::bigint,
        coalesce(sum(dead.count), 0)::bigint,
        coalesce(1000 * extract(epoch FROM now() - min(oldest.create_time)), 0)::bigint
    FROM webhooks AS w
    CROSS JOIN LATERAL (
        SELECT count(*)
        FROM (
            SELECT
            FROM webhook_deliveries AS d
            WHERE d.webhook_id = w.webhook_id
                AND d.status = 'PENDING'
            LIMIT %(each_max)s
        ) AS counted
    ) AS pending
    CROSS JOIN LATERAL (
        SELECT count(*)
        FROM (
            SELECT
            FROM webhook_deliveries AS d
            WHERE d.webhook_id = w.webhook_id
                AND d.status = 'DEAD'
            LIMIT %(each_max)s
        ) AS counted
    ) AS dead
    LEFT JOIN LATERAL (
        SELECT create_time
        FROM webhook_deliveries AS d
        WHERE d.webhook_id = w.webhook_id
            AND d.status = 'PENDING'
        ORDER BY d.transaction_id, d.event_id, d.event
        LIMIT 1
    ) AS oldest ON true
    WHERE w.deleted_timestamp IS NULL
"""


async def deliveries(tx: Driver) -> Deliveries:
    """Return how many deliveries wait or were given up, of each webhook at most 1,000, and since when one waits."""
    row = await (await tx.execute(_SELECT_DELIVERIES, {"each_max": PENDING_MAX})).fetchone()
    assert row, "a sum is always there"
    return Deliveries(pending_count=row[0], dead_count=row[1], lag_ms=max(0, row[2]))
