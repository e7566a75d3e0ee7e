"""The SQL of how much is stored, which reads a bounded part of it."""

from services.common.database import Driver

SAMPLED_PAGES_MAX = 2000
UPLOADS_MAX = 10_000

_SELECT_PERCENTAGE = """
    SELECT least(100, 100.0 * %(pages_max)s / greatest(1, pg_relation_size('blobs') / 8192))::real
"""

_SELECT_BYTES = """
    SELECT coalesce(sum(size), 0) * 100 / %(percentage)s
    FROM blobs TABLESAMPLE SYSTEM (%(percentage)s)
"""

# One that was completed has no key any more.
_COUNT_PENDING = """
    SELECT count(object_key)
    FROM (
        SELECT object_key
        FROM uploads
        LIMIT %(limit)s
    ) AS counted
"""


async def object_bytes(tx: Driver, *, sampled_pages_max: int = SAMPLED_PAGES_MAX) -> int:
    """Return the bytes of all objects, estimated from so many pages of the table where it has more."""
    row = await (await tx.execute(_SELECT_PERCENTAGE, {"pages_max": sampled_pages_max})).fetchone()
    assert row, "a percentage is always there"
    row = await (await tx.execute(_SELECT_BYTES, {"percentage": row[0]})).fetchone()
    assert row, "a sum is always there"
    return int(row[0])


async def count_pending(tx: Driver) -> int:
    """Return how many of the uploads that are known, or of 10,000 of them, are not completed."""
    row = await (await tx.execute(_COUNT_PENDING, {"limit": UPLOADS_MAX})).fetchone()
    assert row, "a count is always there"
    return int(row[0])
