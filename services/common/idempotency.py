"""Makes a create happen once per key: the same key gives the same answer, another request under the key is refused."""

import hashlib
from collections.abc import Awaitable, Callable

from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Text, func

from services.common.database import Database, Driver
from services.common.errors import InvalidArgument

KEY_LENGTH_MAX = 255
# Clients send a key again for minutes; a week also covers a job that is started anew after a long weekend.
KEPT_S = 7 * 24 * 3600
_FORGOTTEN_PER_TRANSACTION = 10_000
_TRANSACTIONS_A_CALL = 50

_CLAIM = """
    INSERT INTO idempotency_keys (caller, operation, request_id, fingerprint)
    VALUES (%(caller)s, %(operation)s, %(request_id)s, %(fingerprint)s)
    ON CONFLICT DO NOTHING
    RETURNING request_id
"""

_SELECT = """
    SELECT fingerprint, resource_id
    FROM idempotency_keys
    WHERE caller = %(caller)s
        AND operation = %(operation)s
        AND request_id = %(request_id)s
"""

_COMPLETE = """
    UPDATE idempotency_keys
    SET resource_id = %(resource_id)s
    WHERE caller = %(caller)s
        AND operation = %(operation)s
        AND request_id = %(request_id)s
"""

_FORGET = """
    WITH forgotten AS (
        DELETE FROM idempotency_keys
        WHERE ctid = ANY(ARRAY(
            SELECT ctid
            FROM idempotency_keys
            WHERE create_time < to_timestamp(%(before_ms)s / 1000.0)
            LIMIT %(limit)s
        ))
        RETURNING request_id
    )
    SELECT count(*)
    FROM forgotten
"""


def declare_table(metadata: MetaData) -> Table:
    """Declare the table that remembers keys, in a service's schema."""
    return Table(
        "idempotency_keys",
        metadata,
        Column("caller", Text, primary_key=True),
        Column("operation", Text, primary_key=True),
        Column("request_id", Text, primary_key=True),
        Column("fingerprint", LargeBinary, nullable=False),
        Column("resource_id", Text),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def fingerprint(*values: object) -> bytes:
    """Return a digest by which a repeated request is told from another one under the same key."""
    return hashlib.sha256(repr(values).encode("utf-8", "surrogatepass")).digest()


async def once(
    tx: Driver,
    *,
    caller: str,
    operation: str,
    request_id: str,
    fingerprint: bytes,
    create: Callable[[], Awaitable[str]],
) -> str:
    """Run `create`, which returns the new resource's id, unless it ran under this key before; return the id.

    A concurrent call with the same key waits for the first one's transaction. An empty `request_id` means no key.
    Raises InvalidArgument if the key is too long or belongs to another request.
    """
    if not request_id:
        return await create()
    if len(request_id) > KEY_LENGTH_MAX:
        raise InvalidArgument(f"'request_id' exceeds the maximum length of {KEY_LENGTH_MAX} characters")
    key = {"caller": caller, "operation": operation, "request_id": request_id}
    claimed = await (await tx.execute(_CLAIM, {**key, "fingerprint": fingerprint})).fetchone()
    if claimed is None:
        known = await (await tx.execute(_SELECT, key)).fetchone()
        assert known is not None, "a key that conflicts is there"
        if bytes(known[0]) != fingerprint:
            raise InvalidArgument(f"The idempotency key '{request_id}' was used for another request.")
        return str(known[1])
    resource_id = await create()
    await tx.execute(_COMPLETE, {**key, "resource_id": resource_id})
    return resource_id


async def forget(db: Database, *, now_ms: int) -> int:
    """Delete keys older than seven days, or a bounded part of them, in bounded transactions. Returns how many."""
    bounds = {"before_ms": now_ms - KEPT_S * 1000, "limit": _FORGOTTEN_PER_TRANSACTION}
    total = 0
    for _ in range(_TRANSACTIONS_A_CALL):
        async with db.pipeline() as tx:
            row = await (await tx.execute(_FORGET, bounds)).fetchone()
        assert row is not None, "counted"
        count = int(row[0])
        total += count
        if count < _FORGOTTEN_PER_TRANSACTION:
            break
    return total
