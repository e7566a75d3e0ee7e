"""The SQL of what people see of deliveries, and of how it goes: fixed statements, on the driver."""

from collections.abc import Mapping
from datetime import datetime

from services.common.database import Driver
from services.registry.deliveries.model import Delivery, Status
from services.registry.events.model import Position
from services.registry.webhooks.outcomes import Failure

_SELECT = """
    SELECT
        d.transaction_id, d.event_id, d.delivery_id, d.webhook_id, d.event, d.registered_model_id, e.name, e.version,
        e.revision, d.status, d.attempts, d.response_status, d.failure, d.duration_ms, d.create_time,
        d.last_attempt_time, d.next_attempt_time
    FROM webhook_deliveries AS d
    JOIN events AS e USING (event_id)
    WHERE d.webhook_id = %(webhook_id)s
"""

_GET = f"{_SELECT} AND d.delivery_id = %(delivery_id)s"

_OLDER = """
        AND (
            %(before_transaction)s::bigint IS NULL
            OR (d.transaction_id, d.event_id, d.event) < (%(before_transaction)s, %(before_event)s, %(before_name)s)
        )
    ORDER BY d.transaction_id DESC, d.event_id DESC, d.event DESC
    LIMIT %(limit)s
"""

_LIST = f"{_SELECT} {_OLDER}"

_LIST_OF_STATUS = f"{_SELECT} AND d.status = %(status)s {_OLDER}"

_REQUEUE = """
    UPDATE webhook_deliveries
    SET status = 'PENDING',
        attempts = 0,
        queue_time = now()
    WHERE delivery_id = %(delivery_id)s
"""

_DELETE_ENDED = """
    WITH deleted AS (
        DELETE FROM webhook_deliveries
        WHERE delivery_id IN (
            SELECT delivery_id
            FROM webhook_deliveries
            WHERE create_time < now() - make_interval(days => %(days)s)
                AND status <> 'PENDING'
            ORDER BY create_time
            LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED
        )
        RETURNING 1
    )
    SELECT count(*)
    FROM deleted
"""

_DELETE_OF_DELETED = """
    WITH deleted AS (
        DELETE FROM webhook_deliveries
        WHERE delivery_id IN (
            SELECT d.delivery_id
            FROM webhooks AS w
            JOIN webhook_deliveries AS d USING (webhook_id)
            WHERE w.deleted_timestamp IS NOT NULL
            LIMIT %(limit)s
            FOR UPDATE OF d SKIP LOCKED
        )
        RETURNING 1
    )
    SELECT count(*)
    FROM deleted
"""

_DELETE_WEBHOOKS = """
    DELETE FROM webhooks AS w
    WHERE deleted_timestamp IS NOT NULL
        AND NOT EXISTS (
            SELECT
            FROM webhook_deliveries AS d
            WHERE d.webhook_id = w.webhook_id
        )
"""

# Those whose model is gone, once they have been told of all that happened to it.
_MARK_ORPHANED = """
    UPDATE webhooks AS w
    SET deleted_timestamp = %(now_ms)s
    WHERE registered_model_id IS NOT NULL
        AND deleted_timestamp IS NULL
        AND NOT EXISTS (
            SELECT
            FROM registered_models AS m
            WHERE m.registered_model_id = w.registered_model_id
        )
        AND NOT EXISTS (
            SELECT
            FROM webhook_deliveries AS d
            WHERE d.webhook_id = w.webhook_id
                AND d.status = 'PENDING'
        )
        AND (
            status <> 'ACTIVE'
            OR (transaction_id, event_id) >= (
                SELECT e.transaction_id, e.event_id
                FROM events AS e
                WHERE e.registered_model_id = w.registered_model_id
                ORDER BY revision DESC
                LIMIT 1
            )
        )
"""


async def read_page(
    tx: Driver, webhook_id: str, *, status: Status | None, before: tuple[int, int, str] | None, limit: int
) -> list[Delivery]:
    """Return a webhook's deliveries, the newest event first, that are before a position."""
    transaction_id, event_id, event = before or (None, None, None)
    given = {
        "webhook_id": webhook_id,
        "status": status.value if status else None,
        "before_transaction": transaction_id,
        "before_event": event_id,
        "before_name": event,
        "limit": limit,
    }
    rows = await tx.execute(_LIST_OF_STATUS if status else _LIST, given)
    return [_delivery(*row) for row in await rows.fetchall()]


async def get(tx: Driver, webhook_id: str, delivery_id: str) -> Delivery | None:
    """Return a delivery of a webhook."""
    row = await (await tx.execute(_GET, {"webhook_id": webhook_id, "delivery_id": delivery_id})).fetchone()
    return _delivery(*row) if row else None


async def requeue(tx: Driver, delivery_id: str) -> None:
    """Have a delivery that has ended begin anew, once it is released. The webhook is held."""
    await tx.execute(_REQUEUE, {"delivery_id": delivery_id})


async def delete_ended(tx: Driver, *, days: int, limit: int) -> int:
    """Delete some deliveries that are older than so many days and have ended; return how many."""
    return await _count(tx, _DELETE_ENDED, {"days": days, "limit": limit})


async def delete_of_deleted(tx: Driver, *, limit: int) -> int:
    """Delete some deliveries of webhooks that are deleted; return how many."""
    return await _count(tx, _DELETE_OF_DELETED, {"limit": limit})


async def delete_webhooks(tx: Driver, *, now_ms: int) -> None:
    """Delete webhooks that are marked and have no deliveries any more, and mark those that nothing happens to again."""
    await tx.execute(_DELETE_WEBHOOKS)
    await tx.execute(_MARK_ORPHANED, {"now_ms": now_ms})


async def _count(tx: Driver, statement: str, given: Mapping[str, int]) -> int:
    # In the driver's pipeline a cursor does not know how many rows it changed until one is fetched.
    row = await (await tx.execute(statement, given)).fetchone()
    assert row is not None, "an aggregate is one row"
    return int(row[0])


def _delivery(
    transaction_id: int, event_id: int, delivery_id: str, webhook_id: str, event: str, registered_model_id: int,
    name: str, version: int | None, revision: int, status: str, attempts: int, response_status: int | None,
    failure: str | None, duration_ms: int | None, create_time: datetime, last_attempt_time: datetime | None,
    next_attempt_time: datetime | None,
) -> Delivery:  # fmt: skip
    return Delivery(
        position=Position(transaction_id=transaction_id, event_id=event_id),
        delivery_id=delivery_id,
        webhook_id=webhook_id,
        event=event,
        registered_model_id=registered_model_id,
        name=name,
        version=None if version is None else str(version),
        revision=revision,
        status=Status(status),
        attempts=attempts,
        response_status=response_status,
        failure=Failure(failure) if failure else None,
        duration_ms=duration_ms,
        create_time=create_time,
        last_attempt_time=last_attempt_time,
        next_attempt_time=next_attempt_time,
    )
