"""The SQL of contents: kept once for each hash of a workspace, let go when no name leads to them, then garbage.

Nobody counts references: the foreign key of `artifacts` holds a blob while a name leads to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.database import Driver

_INSERT = """
    INSERT INTO blobs (workspace, object_key, size, sha256, create_time)
    VALUES (%(workspace)s, %(object_key)s, %(size)s, %(sha256)s, %(now)s)
    ON CONFLICT (workspace, sha256) DO NOTHING
    RETURNING blob_id
"""

_INSERT_MANY = """
    INSERT INTO blobs (workspace, object_key, size, sha256, create_time)
    SELECT %(workspace)s, object_key, size, sha256, %(now)s
    FROM unnest(
        %(object_keys)s::text[], %(sizes)s::bigint[], %(hashes)s::text[]
    ) AS new (object_key, size, sha256)
    ON CONFLICT (workspace, sha256) DO NOTHING
    RETURNING object_key, blob_id
"""

_SELECT_KEY = """
    SELECT object_key
    FROM blobs
    WHERE workspace = %(workspace)s
        AND sha256 = %(sha256)s
"""

_LOCK_SAME = """
    SELECT blob_id, object_key
    FROM blobs
    WHERE workspace = %(workspace)s
        AND sha256 = %(sha256)s
    FOR NO KEY UPDATE
"""

_REPLACE_OBJECT = "UPDATE blobs SET object_key = %(object_key)s WHERE blob_id = %(blob_id)s"

_FIND = """
    SELECT blob_id
    FROM blobs
    WHERE workspace = %(workspace)s
        AND sha256 = %(sha256)s
        AND size = %(size)s
    FOR KEY SHARE
"""

_RELEASE = "INSERT INTO releases (blob_id) SELECT unnest(%(blob_ids)s::bigint[])"

_TAKE_RELEASES = """
    DELETE FROM releases
    WHERE release_id IN (
        SELECT release_id
        FROM releases
        ORDER BY release_id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    RETURNING blob_id
"""

_LOCK = """
    SELECT blob_id
    FROM blobs
    WHERE blob_id = ANY(%(blob_ids)s::bigint[])
    ORDER BY workspace, sha256, blob_id
    FOR UPDATE
"""

_DELETE_NAMELESS = """
    WITH deleted AS (
        DELETE FROM blobs
        WHERE blob_id = ANY(%(blob_ids)s::bigint[])
            AND NOT EXISTS (SELECT FROM artifacts WHERE artifacts.blob_id = blobs.blob_id)
        RETURNING object_key
    )
    INSERT INTO garbage (object_key, has_parts, create_time)
    SELECT object_key, false, %(now)s
    FROM deleted
"""

_INSERT_GARBAGE = """
    INSERT INTO garbage (object_key, has_parts, create_time)
    VALUES (%(object_key)s, %(has_parts)s, %(now)s)
    ON CONFLICT DO NOTHING
"""

_INSERT_STRAY = """
    INSERT INTO garbage (object_key, has_parts, create_time)
    SELECT %(object_key)s, %(has_parts)s, %(now)s
    WHERE NOT EXISTS (SELECT FROM blobs WHERE object_key = %(object_key)s)
    ON CONFLICT (object_key) DO UPDATE
    SET create_time = excluded.create_time
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewContents:
    """What was stored as an object; `kept_key` as in `add`."""

    object_key: str
    size: int
    sha256: str
    kept_key: str | None


async def add_many(tx: Driver, workspace: str, contents: Sequence[NewContents], *, now: datetime) -> dict[str, int]:
    """Return by object key the ids of the blobs with these contents, as `add` does.

    Hashes are taken in their order, so that nobody waits for each other.
    """
    in_order = sorted(contents, key=lambda each: each.sha256)
    rows = {
        "workspace": workspace,
        "object_keys": [each.object_key for each in in_order],
        "sizes": [each.size for each in in_order],
        "hashes": [each.sha256 for each in in_order],
        "now": now,
    }
    blob_ids: dict[str, int] = dict(await (await tx.execute(_INSERT_MANY, rows)).fetchall())
    for each in in_order:
        if each.object_key not in blob_ids:
            blob_ids[each.object_key] = await add(
                tx,
                workspace=workspace,
                object_key=each.object_key,
                size=each.size,
                sha256=each.sha256,
                now=now,
                kept_key=each.kept_key,
            )
    return blob_ids


async def add(
    tx: Driver,
    *,
    workspace: str,
    object_key: str,
    size: int,
    sha256: str | None,
    now: datetime,
    kept_key: str | None = None,
) -> int:
    """Return the id of the blob with these contents, which stays until the transaction ends.

    Where the hash is known already the new object takes the place of the old one, as it was checked just now; unless
    the old one is `kept_key`, which was checked too: then the new one is garbage.
    """
    row = {"workspace": workspace, "object_key": object_key, "size": size, "sha256": sha256, "now": now}
    while True:
        if inserted := await (await tx.execute(_INSERT, row)).fetchone():
            return int(inserted[0])
        same = await (await tx.execute(_LOCK_SAME, row)).fetchone()
        # None if it was deleted between the two statements.
        if same is not None:
            blob_id, old_key = same
            if old_key == kept_key:
                await discard(tx, object_key, has_parts=False, now=now)
                return int(blob_id)
            await tx.execute(_REPLACE_OBJECT, {"blob_id": blob_id, "object_key": object_key})
            await discard(tx, old_key, has_parts=False, now=now)
            return int(blob_id)


async def find_key(tx: Driver, workspace: str, sha256: str) -> str | None:
    """Return the key of the object that a workspace has of these contents."""
    row = await (await tx.execute(_SELECT_KEY, {"workspace": workspace, "sha256": sha256})).fetchone()
    return str(row[0]) if row else None


async def find(tx: Driver, *, workspace: str, sha256: str, size: int) -> int | None:
    """Return the id of the blob with these contents, which stays until the transaction ends."""
    row = await (await tx.execute(_FIND, {"workspace": workspace, "sha256": sha256, "size": size})).fetchone()
    return int(row[0]) if row else None


async def release(tx: Driver, blob_ids: Sequence[int]) -> None:
    """Note that blobs have lost a name; waits for nobody."""
    if blob_ids:
        await tx.execute(_RELEASE, {"blob_ids": list(blob_ids)})


async def collect(tx: Driver, *, limit: int, now: datetime) -> int:
    """Turn blobs that have lost their last name into garbage, looking at up to `limit` releases; return how many it
    looked at.
    """
    taken = await (await tx.execute(_TAKE_RELEASES, {"limit": limit})).fetchall()
    blob_ids = sorted({blob_id for (blob_id,) in taken})
    if blob_ids:
        # Whoever gives one of them a name holds it until his name can be seen; who comes later finds it locked or gone.
        # Locked in the order in which `add_many` takes hashes, so that nobody waits for each other.
        # The names are looked for in a statement of its own, which sees what was committed up to here.
        await tx.execute(_LOCK, {"blob_ids": blob_ids})
        await tx.execute(_DELETE_NAMELESS, {"blob_ids": blob_ids, "now": now})
    return len(taken)


async def discard(tx: Driver, object_key: str, *, has_parts: bool, now: datetime) -> None:
    """Have an object that no blob has deleted in the store."""
    await tx.execute(_INSERT_GARBAGE, {"object_key": object_key, "has_parts": has_parts, "now": now})


async def discard_stray(tx: Driver, object_key: str, *, has_parts: bool, now: datetime) -> None:
    """Have an object deleted whose upload is not known any more, unless a blob has it and it was committed.

    If it is garbage already, it is so anew: a sweep may have removed it before the last of it came.
    """
    await tx.execute(_INSERT_STRAY, {"object_key": object_key, "has_parts": has_parts, "now": now})
