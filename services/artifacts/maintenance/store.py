"""The SQL of what the sweeper and the check look at, in steps of bounded size."""

from collections.abc import Sequence
from datetime import datetime

from psycopg.errors import UniqueViolation

from services.artifacts.blobs import store as blobs
from services.artifacts.maintenance.model import Contents, Doomed
from services.common.database import Driver

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('modelstead.artifacts.sweeper', 0))"

_ABANDON = """
    WITH ended AS (
        DELETE FROM uploads
        WHERE upload_id IN (
            SELECT upload_id
            FROM uploads
            WHERE create_time < %(before)s
            ORDER BY create_time
            LIMIT %(limit)s
            FOR UPDATE SKIP LOCKED
        )
        RETURNING object_key, has_parts
    ),
    discarded AS (
        INSERT INTO garbage (object_key, has_parts, create_time)
        SELECT object_key, has_parts, %(now)s
        FROM ended
        WHERE object_key IS NOT NULL
    )
    SELECT count(*), count(object_key)
    FROM ended
"""

_SELECT_GARBAGE = """
    SELECT object_key, has_parts, create_time
    FROM garbage
    WHERE create_time <= %(before)s
    ORDER BY create_time, object_key
    LIMIT %(limit)s
"""

# What became garbage once more meanwhile stays: more may have come to its key since it was removed.
_DELETE_GARBAGE = """
    DELETE FROM garbage
    USING unnest(%(object_keys)s::text[], %(create_times)s::timestamptz[]) AS removed (object_key, create_time)
    WHERE garbage.object_key = removed.object_key
        AND garbage.create_time = removed.create_time
"""

_SELECT_UNREAD = """
    SELECT blob_id, object_key, size, sha256
    FROM blobs
    WHERE sha256 IS NULL
        AND blob_id > %(after)s
    ORDER BY blob_id
    LIMIT %(limit)s
"""

_SET_SHA256 = """
    UPDATE blobs
    SET sha256 = %(sha256)s
    WHERE blob_id = %(blob_id)s
    RETURNING blob_id
"""

_MOVE_NAMES = """
    WITH same AS (
        SELECT kept.blob_id
        FROM blobs AS kept
        JOIN blobs AS unread USING (workspace)
        WHERE unread.blob_id = %(blob_id)s
            AND kept.sha256 = %(sha256)s
        FOR KEY SHARE OF kept
    ),
    held AS (
        SELECT workspace, path
        FROM artifacts
        WHERE blob_id = %(blob_id)s
        ORDER BY workspace, path
        FOR UPDATE
    )
    UPDATE artifacts
    SET blob_id = same.blob_id
    FROM same, held
    WHERE artifacts.workspace = held.workspace
        AND artifacts.path = held.path
        AND artifacts.blob_id = %(blob_id)s
"""

_SELECT_CONTENTS = """
    SELECT blob_id, object_key, size, sha256
    FROM blobs
    WHERE object_key > %(after)s
    ORDER BY object_key
    LIMIT %(limit)s
"""

_SELECT_PATHS = """
    SELECT path
    FROM artifacts
    WHERE blob_id = %(blob_id)s
    ORDER BY path
    LIMIT %(limit)s
"""

_IS_KNOWN = """
    SELECT
        EXISTS (SELECT FROM blobs WHERE object_key = %(object_key)s)
        OR EXISTS (SELECT FROM uploads WHERE object_key = %(object_key)s)
        OR EXISTS (SELECT FROM garbage WHERE object_key = %(object_key)s)
"""


async def try_lock(tx: Driver) -> bool:
    """Return whether this transaction is the one that sweeps; it is until it ends."""
    row = await (await tx.execute(_TRY_LOCK)).fetchone()
    return bool(row and row[0])


async def abandon(tx: Driver, *, before: datetime, now: datetime, limit: int) -> tuple[int, int]:
    """Make garbage of up to `limit` uploads created before a time; return how many rows went, and of them uploads that
    were not completed.
    """
    row = await (await tx.execute(_ABANDON, {"before": before, "now": now, "limit": limit})).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


async def select_garbage(tx: Driver, *, before: datetime, limit: int) -> list[Doomed]:
    """Return up to `limit` objects that became garbage at or before a time, oldest first."""
    rows = await (await tx.execute(_SELECT_GARBAGE, {"before": before, "limit": limit})).fetchall()
    return [Doomed(object_key=row[0], has_parts=row[1], create_time=row[2]) for row in rows]


async def delete_garbage(tx: Driver, removed: Sequence[Doomed]) -> None:
    """Forget objects that were removed, but not those that became garbage again since they were selected."""
    keys, times = [each.object_key for each in removed], [each.create_time for each in removed]
    await tx.execute(_DELETE_GARBAGE, {"object_keys": keys, "create_times": times})


async def select_unread(tx: Driver, *, after: int, limit: int) -> list[Contents]:
    """Return up to `limit` blobs without a hash, after one by id."""
    return _contents(await (await tx.execute(_SELECT_UNREAD, {"after": after, "limit": limit})).fetchall())


async def set_sha256(tx: Driver, blob_id: int, sha256: str) -> bool:
    """Note a blob's hash; return False, with the transaction void, if another blob has it already."""
    try:
        await (await tx.execute(_SET_SHA256, {"blob_id": blob_id, "sha256": sha256})).fetchone()
    except UniqueViolation as violation:
        if violation.diag.constraint_name != "blobs_workspace_sha256_key":
            raise
        return False
    return True


async def move_names(tx: Driver, blob_id: int, sha256: str) -> None:
    """Let what leads to a blob lead to the one with that hash instead, and release the blob."""
    await tx.execute(_MOVE_NAMES, {"blob_id": blob_id, "sha256": sha256})
    await blobs.release(tx, [blob_id])


async def select_contents(tx: Driver, *, after: str, limit: int) -> list[Contents]:
    """Return up to `limit` blobs, after one by its object's key, in the order in which object stores list keys."""
    return _contents(await (await tx.execute(_SELECT_CONTENTS, {"after": after, "limit": limit})).fetchall())


async def select_paths(tx: Driver, blob_id: int, *, limit: int) -> list[str]:
    """Return up to `limit` paths that lead to a blob."""
    rows = await (await tx.execute(_SELECT_PATHS, {"blob_id": blob_id, "limit": limit})).fetchall()
    return [path for (path,) in rows]


async def is_known(tx: Driver, object_key: str) -> bool:
    """Whether any record names an object."""
    row = await (await tx.execute(_IS_KNOWN, {"object_key": object_key})).fetchone()
    return bool(row and row[0])


def _contents(rows: Sequence[tuple[int, str, int, str | None]]) -> list[Contents]:
    fields = ("blob_id", "object_key", "size", "sha256")
    return [Contents(**dict(zip(fields, row, strict=True))) for row in rows]  # type: ignore[arg-type]
