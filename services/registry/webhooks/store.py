"""The SQL of webhooks: fixed statements, on the driver. Those that are deleted, or whose model is, are not seen."""

from collections.abc import Sequence
from typing import NamedTuple

from services.common.database import Driver
from services.registry.webhooks.model import Status, Wanted, Webhook
from services.registry.webhooks.vocabulary import Dialect

# What is told begins with the transactions that are under way when a webhook is made or enabled.
_INSERT = """
    INSERT INTO webhooks (
        webhook_id, dialect, registered_model_id, name, description, url, events, sealed_secret, sealed_authorization,
        enable_ssl_verification, status, creation_timestamp, last_updated_timestamp, transaction_id, event_id
    )
    VALUES (
        %(webhook_id)s, %(dialect)s, %(registered_model_id)s, %(name)s, %(description)s, %(url)s, %(events)s,
        %(sealed_secret)s, %(sealed_authorization)s, %(enable_ssl_verification)s, %(status)s, %(now_ms)s, %(now_ms)s,
        (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint, 0
    )
"""

_COUNT = """
    SELECT count(*)
    FROM webhooks
    WHERE workspace = 'default'
        AND deleted_timestamp IS NULL
"""

_SELECT = """
    SELECT
        w.webhook_id, w.dialect, w.registered_model_id, m.name, w.name, w.description, w.url, w.events,
        w.sealed_secret, w.sealed_authorization, w.enable_ssl_verification, w.status, w.creation_timestamp,
        w.last_updated_timestamp
    FROM webhooks AS w
    LEFT JOIN registered_models AS m USING (registered_model_id)
    WHERE w.workspace = 'default'
        AND w.deleted_timestamp IS NULL
        AND (w.registered_model_id IS NULL OR m.registered_model_id IS NOT NULL)
"""

_GET = f"""
    {_SELECT}
        AND w.webhook_id = %(webhook_id)s
        AND w.dialect = coalesce(%(dialect)s, w.dialect)
"""

_HOLD = f"{_GET} FOR NO KEY UPDATE OF w"

_LIST = f"""
    {_SELECT}
        AND w.dialect = %(dialect)s
        AND (%(registered_model_id)s::bigint IS NULL OR w.registered_model_id = %(registered_model_id)s)
        AND (%(events)s::text[] = '{{}}' OR w.events && %(events)s)
        AND (
            %(before_timestamp)s::bigint IS NULL
            OR (w.creation_timestamp, w.webhook_id) < (%(before_timestamp)s, %(before_id)s)
        )
    ORDER BY w.creation_timestamp DESC, w.webhook_id DESC
    LIMIT %(limit)s
"""

_UPDATE = """
    UPDATE webhooks
    SET name = coalesce(%(name)s, name),
        description = coalesce(%(description)s, description),
        url = coalesce(%(url)s, url),
        events = coalesce(%(events)s, events),
        sealed_secret = coalesce(%(sealed_secret)s, sealed_secret),
        sealed_authorization = coalesce(%(sealed_authorization)s, sealed_authorization),
        enable_ssl_verification = coalesce(%(enable_ssl_verification)s, enable_ssl_verification),
        status = coalesce(%(status)s, status),
        last_updated_timestamp = %(now_ms)s
    WHERE webhook_id = %(webhook_id)s
"""

_SELECT_SEALED = """
    SELECT webhook_id, sealed_secret, sealed_authorization
    FROM webhooks
    WHERE webhook_id > %(after)s
        AND (sealed_secret <> '' OR sealed_authorization <> '')
    ORDER BY webhook_id
    LIMIT %(limit)s
"""

_RESEAL = """
    UPDATE webhooks
    SET sealed_secret = %(secret)s,
        sealed_authorization = %(authorization)s
    WHERE webhook_id = %(webhook_id)s
        AND sealed_secret = %(old_secret)s
        AND sealed_authorization = %(old_authorization)s
    RETURNING webhook_id
"""

_START = """
    UPDATE webhooks
    SET transaction_id = (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint,
        event_id = 0
    WHERE webhook_id = %(webhook_id)s
"""

_DISABLE = """
    UPDATE webhooks
    SET status = 'DISABLED'
    WHERE webhook_id = %(webhook_id)s
"""

_MARK_DELETED = """
    UPDATE webhooks
    SET deleted_timestamp = %(now_ms)s,
        last_updated_timestamp = %(now_ms)s
    WHERE webhook_id = %(webhook_id)s
"""


class Sealed(NamedTuple):
    """What is kept of a webhook's secrets."""

    webhook_id: str
    secret: str
    authorization: str


async def sealed(tx: Driver, *, after: str, limit: int) -> list[Sealed]:
    """Return the next webhooks, by number, that have secrets, also those that are deleted."""
    rows = await (await tx.execute(_SELECT_SEALED, {"after": after, "limit": limit})).fetchall()
    return [Sealed(*row) for row in rows]


async def reseal(tx: Driver, before: Sealed, *, secret: str, authorization: str) -> bool:
    """Keep other forms of the same secrets; return whether they were still those."""
    given = {
        "webhook_id": before.webhook_id,
        "old_secret": before.secret,
        "old_authorization": before.authorization,
        "secret": secret,
        "authorization": authorization,
    }
    return await (await tx.execute(_RESEAL, given)).fetchone() is not None


async def add(tx: Driver, webhook: Webhook) -> None:
    """Insert a webhook, to be told of what happens from now on."""
    await tx.execute(
        _INSERT,
        {
            "webhook_id": webhook.webhook_id,
            "dialect": webhook.dialect.value,
            "registered_model_id": webhook.registered_model_id,
            "name": webhook.name,
            "description": webhook.description or "",
            "url": webhook.url,
            "events": list(webhook.subscriptions),
            "sealed_secret": webhook.sealed_secret,
            "sealed_authorization": webhook.sealed_authorization,
            "enable_ssl_verification": webhook.enable_ssl_verification,
            "status": webhook.status.value,
            "now_ms": webhook.creation_timestamp,
        },
    )


async def count(tx: Driver) -> int:
    """Return how many webhooks there are."""
    row = await (await tx.execute(_COUNT)).fetchone()
    assert row, "a count is always there"
    return int(row[0])


async def get(tx: Driver, webhook_id: str, dialect: Dialect | None = None) -> Webhook | None:
    """Return a webhook of a dialect, or of any."""
    return await _one(tx, _GET, webhook_id, dialect)


async def hold(tx: Driver, webhook_id: str, dialect: Dialect | None = None) -> Webhook | None:
    """Return a webhook, and keep others from changing it or its deliveries until the transaction ends."""
    return await _one(tx, _HOLD, webhook_id, dialect)


async def read_page(
    tx: Driver,
    dialect: Dialect,
    *,
    registered_model_id: int | None,
    events: Sequence[str],
    before: tuple[int, str] | None,
    limit: int,
) -> list[Webhook]:
    """Return webhooks, the newest first, that are older than those before."""
    timestamp, webhook_id = before or (None, None)
    given = {
        "dialect": dialect.value,
        "registered_model_id": registered_model_id,
        "events": list(events),
        "before_timestamp": timestamp,
        "before_id": webhook_id,
        "limit": limit,
    }
    return [_webhook(*row) for row in await (await tx.execute(_LIST, given)).fetchall()]


async def update(
    tx: Driver, webhook_id: str, wanted: Wanted, *, secret: str | None, authorization: str | None, now_ms: int
) -> None:
    """Change what is wanted; `secret` and `authorization` are sealed."""
    await tx.execute(
        _UPDATE,
        {
            "webhook_id": webhook_id,
            "name": wanted.name,
            "description": wanted.description,
            "url": wanted.url,
            "events": list(dict.fromkeys(wanted.subscriptions)) if wanted.subscriptions is not None else None,
            "sealed_secret": secret,
            "sealed_authorization": authorization,
            "enable_ssl_verification": wanted.enable_ssl_verification,
            "status": wanted.status.value if wanted.status else None,
            "now_ms": now_ms,
        },
    )


async def start(tx: Driver, webhook_id: str) -> None:
    """Have a webhook told of what happens from now on, and of nothing before."""
    await tx.execute(_START, {"webhook_id": webhook_id})


async def disable(tx: Driver, webhook_id: str) -> None:
    """Have a webhook told of nothing more."""
    await tx.execute(_DISABLE, {"webhook_id": webhook_id})


async def mark_deleted(tx: Driver, webhook_id: str, *, now_ms: int) -> None:
    """Have a webhook go."""
    await tx.execute(_MARK_DELETED, {"webhook_id": webhook_id, "now_ms": now_ms})


async def _one(tx: Driver, statement: str, webhook_id: str, dialect: Dialect | None) -> Webhook | None:
    given = {"webhook_id": webhook_id, "dialect": dialect.value if dialect else None}
    row = await (await tx.execute(statement, given)).fetchone()
    return _webhook(*row) if row else None


def _webhook(
    webhook_id: str, dialect: str, registered_model_id: int | None, model_name: str | None, name: str,
    description: str, url: str, events: Sequence[str], sealed_secret: str, sealed_authorization: str,
    enable_ssl_verification: bool, status: str, creation_timestamp: int, last_updated_timestamp: int,
) -> Webhook:  # fmt: skip
    return Webhook(
        webhook_id=webhook_id,
        dialect=Dialect(dialect),
        registered_model_id=registered_model_id,
        model_name=model_name,
        name=name,
        description=description or None,
        url=url,
        subscriptions=tuple(events),
        sealed_secret=sealed_secret,
        sealed_authorization=sealed_authorization,
        enable_ssl_verification=enable_ssl_verification,
        status=Status(status),
        creation_timestamp=creation_timestamp,
        last_updated_timestamp=last_updated_timestamp,
    )
