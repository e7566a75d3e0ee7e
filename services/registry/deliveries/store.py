"""The SQL of deliveries: fixed statements, on the driver. The clock is the database's.

Who makes deliveries of a webhook, ends one, or has one sent again, holds the webhook's row: `release` then sees all of
them, and so of one model one at a time is sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.common.database import Driver
from services.registry.deliveries.model import Claim, Draft, Follower, Verdict
from services.registry.events.model import Position
from services.registry.prompts import PROMPT_TAG
from services.registry.webhooks.outcomes import Outcome
from services.registry.webhooks.vocabulary import Dialect, Happening

# As many may be pending for one webhook before the rest waits where it is safe: among the events.
PENDING_MAX = 1000
_FOLLOWERS_MAX = 100

_LOCK_BEHIND = """
    SELECT webhook_id, dialect, registered_model_id, events, transaction_id, event_id
    FROM webhooks AS w
    WHERE status = 'ACTIVE'
        AND deleted_timestamp IS NULL
        AND (transaction_id, event_id) < (
            SELECT transaction_id, event_id
            FROM events
            WHERE transaction_id < (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint
            ORDER BY transaction_id DESC, event_id DESC
            LIMIT 1
        )
        AND %(pending_max)s > (
            SELECT count(*)
            FROM (
                SELECT
                FROM webhook_deliveries AS d
                WHERE d.webhook_id = w.webhook_id
                    AND d.status = 'PENDING'
                LIMIT %(pending_max)s
            ) AS pending
        )
    ORDER BY transaction_id, event_id, webhook_id
    LIMIT %(limit)s
    FOR NO KEY UPDATE SKIP LOCKED
"""

# What a model is, its first event tells, also when it is gone.
_SELECT_PROMPTS = """
    SELECT i.registered_model_id
    FROM unnest(%(registered_model_ids)s::bigint[]) AS i (registered_model_id)
    CROSS JOIN LATERAL (
        SELECT changes
        FROM events AS e
        WHERE e.registered_model_id = i.registered_model_id
        ORDER BY revision
        LIMIT 1
    ) AS first
    WHERE lower(first.changes -> %(field)s ->> 'to') = 'true'
"""

_INSERT = """
    INSERT INTO webhook_deliveries (
        delivery_id, webhook_id, transaction_id, event_id, event, registered_model_id, status, attempts
    )
    SELECT i.*, 'PENDING', 0
    FROM unnest(
        %(delivery_ids)s::text[], %(webhook_ids)s::text[], %(transaction_ids)s::bigint[], %(event_ids)s::bigint[],
        %(events)s::text[], %(registered_model_ids)s::bigint[]
    ) AS i
"""

_ADVANCE = """
    UPDATE webhooks
    SET transaction_id = %(transaction_id)s,
        event_id = %(event_id)s
    WHERE webhook_id = ANY(%(webhook_ids)s)
        AND (transaction_id, event_id) < (%(transaction_id)s, %(event_id)s)
"""

_RELEASE = """
    UPDATE webhook_deliveries AS d
    SET next_attempt_time = now()
    FROM (
        SELECT DISTINCT ON (webhook_id, registered_model_id) delivery_id, next_attempt_time
        FROM webhook_deliveries
        WHERE webhook_id = ANY(%(webhook_ids)s)
            AND (%(registered_model_id)s::bigint IS NULL OR registered_model_id = %(registered_model_id)s)
            AND status = 'PENDING'
        ORDER BY webhook_id, registered_model_id, next_attempt_time IS NULL, transaction_id, event_id, event
    ) AS first
    WHERE d.delivery_id = first.delivery_id
        AND first.next_attempt_time IS NULL
"""

_CLAIM = """
    WITH due AS (
        SELECT d.delivery_id
        FROM webhooks AS w
        LEFT JOIN unnest(%(busy)s::text[], %(busy_counts)s::bigint[]) AS b (webhook_id, count) USING (webhook_id)
        CROSS JOIN LATERAL (
            SELECT delivery_id, next_attempt_time
            FROM webhook_deliveries
            WHERE webhook_id = w.webhook_id
                AND next_attempt_time <= now()
            ORDER BY next_attempt_time, delivery_id
            LIMIT greatest(0, %(each_max)s - coalesce(b.count, 0))
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS d
        WHERE w.status = 'ACTIVE'
            AND w.deleted_timestamp IS NULL
        ORDER BY d.next_attempt_time, d.delivery_id
        LIMIT %(limit)s
    )
    UPDATE webhook_deliveries AS d
    SET claim_id = gen_random_uuid()::text,
        attempts = d.attempts + 1,
        last_attempt_time = now(),
        next_attempt_time = now() + make_interval(secs => %(lease_s)s)
    FROM due, webhooks AS w, events AS e
    WHERE d.delivery_id = due.delivery_id
        AND w.webhook_id = d.webhook_id
        AND e.event_id = d.event_id
    RETURNING
        d.delivery_id, d.claim_id, d.webhook_id, d.registered_model_id, d.event, d.attempts,
        extract(epoch FROM now() - d.queue_time)::double precision, w.dialect, w.url, w.sealed_secret,
        w.sealed_authorization, w.enable_ssl_verification, e.kind, e.name, e.revision, e.actor, e.creation_timestamp,
        e.version, e.changes
"""

_SELECT_NEXT_DUE = """
    SELECT extract(epoch FROM min(d.next_attempt_time) - now())::double precision
    FROM webhooks AS w
    CROSS JOIN LATERAL (
        SELECT next_attempt_time
        FROM webhook_deliveries
        WHERE webhook_id = w.webhook_id
            AND next_attempt_time > now()
        ORDER BY next_attempt_time
        LIMIT 1
    ) AS d
    WHERE w.status = 'ACTIVE'
        AND w.deleted_timestamp IS NULL
"""

_LOCK_WEBHOOK = """
    SELECT
    FROM webhooks
    WHERE webhook_id = %(webhook_id)s
    FOR NO KEY UPDATE
"""

_FINISH = """
    UPDATE webhook_deliveries
    SET status = %(status)s,
        response_status = %(response_status)s,
        failure = %(failure)s,
        duration_ms = %(duration_ms)s,
        claim_id = NULL,
        next_attempt_time = now() + make_interval(secs => %(delay_s)s)
    WHERE delivery_id = %(delivery_id)s
        AND claim_id = %(claim_id)s
    RETURNING delivery_id
"""

_END_PENDING = """
    UPDATE webhook_deliveries
    SET status = 'DEAD',
        failure = 'WEBHOOK_DISABLED',
        claim_id = NULL,
        next_attempt_time = NULL
    WHERE webhook_id = %(webhook_id)s
        AND status = 'PENDING'
"""


async def lock_behind(tx: Driver) -> list[Follower]:
    """Return some webhooks that have not been told of all events, those furthest behind first, and keep others from
    them; not those that others have, nor those that have much before them already.
    """
    rows = await (await tx.execute(_LOCK_BEHIND, {"pending_max": PENDING_MAX, "limit": _FOLLOWERS_MAX})).fetchall()
    return [_follower(*row) for row in rows]


async def prompts_among(tx: Driver, registered_model_ids: Sequence[int]) -> frozenset[int]:
    """Return those models, which may be gone, that are prompts."""
    given = {"registered_model_ids": list(registered_model_ids), "field": f"tags.{PROMPT_TAG}"}
    rows = await tx.execute(_SELECT_PROMPTS, given)
    return frozenset(row[0] for row in await rows.fetchall())


async def add(tx: Driver, drafts: Sequence[Draft]) -> None:
    """Insert deliveries, of which none is sent before `release`."""
    await tx.execute(
        _INSERT,
        {
            "delivery_ids": [draft.delivery_id for draft in drafts],
            "webhook_ids": [draft.webhook_id for draft in drafts],
            "transaction_ids": [draft.position.transaction_id for draft in drafts],
            "event_ids": [draft.position.event_id for draft in drafts],
            "events": [draft.event for draft in drafts],
            "registered_model_ids": [draft.registered_model_id for draft in drafts],
        },
    )


async def advance(tx: Driver, webhook_ids: Sequence[str], position: Position) -> None:
    """Note that webhooks have been told of all events up to a position."""
    given = {"transaction_id": position.transaction_id, "event_id": position.event_id}
    await tx.execute(_ADVANCE, {"webhook_ids": list(webhook_ids), **given})


async def release(tx: Driver, webhook_ids: Sequence[str], *, registered_model_id: int | None = None) -> None:
    """Have the oldest delivery of each model, or of one, sent, unless one of it is under way. The webhooks are held."""
    await tx.execute(_RELEASE, {"webhook_ids": list(webhook_ids), "registered_model_id": registered_model_id})


async def claim(tx: Driver, *, busy: Mapping[str, int], each_max: int, limit: int, lease_s: float) -> list[Claim]:
    """Take deliveries that are due: at most `limit`, and of a webhook `each_max` less those that are `busy`. For so
    long nobody else gets them.
    """
    given = {
        "busy": list(busy),
        "busy_counts": list(busy.values()),
        "each_max": each_max,
        "limit": limit,
        "lease_s": lease_s,
    }
    return [_claim(*row) for row in await (await tx.execute(_CLAIM, given)).fetchall()]


async def next_due_s(tx: Driver) -> float | None:
    """Return in how many seconds the next delivery will be due that is not yet; None if there is none."""
    row = await (await tx.execute(_SELECT_NEXT_DUE)).fetchone()
    return row[0] if row else None


async def lock_webhook(tx: Driver, webhook_id: str) -> None:
    """Keep others from a webhook and its deliveries until the transaction ends."""
    await tx.execute(_LOCK_WEBHOOK, {"webhook_id": webhook_id})


async def finish(tx: Driver, claimed: Claim, outcome: Outcome, verdict: Verdict) -> bool:
    """Note what came of an attempt. Returns False, and notes nothing, if the delivery is somebody else's by now."""
    cursor = await tx.execute(
        _FINISH,
        {
            "delivery_id": claimed.delivery_id,
            "claim_id": claimed.claim_id,
            "status": verdict.status.value,
            "response_status": outcome.response_status,
            "failure": outcome.failure.value if outcome.failure else None,
            "duration_ms": outcome.duration_ms,
            "delay_s": verdict.delay_s,
        },
    )
    return await cursor.fetchone() is not None


async def end_pending(tx: Driver, webhook_id: str) -> None:
    """Give up what is still to be sent to a webhook, which is held and disabled."""
    await tx.execute(_END_PENDING, {"webhook_id": webhook_id})


def _follower(
    webhook_id: str, dialect: str, registered_model_id: int | None, events: Sequence[str], transaction_id: int,
    event_id: int,
) -> Follower:  # fmt: skip
    return Follower(
        webhook_id=webhook_id,
        dialect=Dialect(dialect),
        registered_model_id=registered_model_id,
        subscriptions=tuple(events),
        position=Position(transaction_id=transaction_id, event_id=event_id),
    )


def _claim(
    delivery_id: str, claim_id: str, webhook_id: str, registered_model_id: int, event: str, attempts: int,
    age_s: float, dialect: str, url: str, sealed_secret: str, sealed_authorization: str,
    enable_ssl_verification: bool, *happening: Any,
) -> Claim:  # fmt: skip
    kind, name, revision, actor, creation_timestamp, version, changes = happening
    return Claim(
        delivery_id=delivery_id,
        claim_id=claim_id,
        webhook_id=webhook_id,
        registered_model_id=registered_model_id,
        event=event,
        attempts=attempts,
        age_s=age_s,
        dialect=Dialect(dialect),
        url=url,
        sealed_secret=sealed_secret,
        sealed_authorization=sealed_authorization,
        enable_ssl_verification=enable_ssl_verification,
        happening=Happening(
            kind=kind,
            name=name,
            revision=revision,
            actor=actor,
            creation_timestamp=creation_timestamp,
            version=version,
            changes=changes,
        ),
    )
