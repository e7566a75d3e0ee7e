"""The SQL of names. A folder is no row: it is what stands before a slash in the paths of its files."""

from collections.abc import Sequence
from datetime import datetime

from services.artifacts import paths
from services.artifacts.files.model import Artifact, Conflict
from services.artifacts.trees import Entry
from services.common.database import Driver

# What sorts directly after a slash: `a/` up to `a0` is all that is in the folder `a`.
_AFTER_SLASH = "0"
# Sorts before all that a path may hold, so a path with it appended is the next one that may follow.
_BEFORE_ALL = "\x01"
_AFTER_ALL = "\U0010ffff" * paths.PATH_BYTES_MAX

_RESERVE = """
    SELECT pg_advisory_xact_lock_shared(hashtextextended(%(workspace)s || '/' || folder, 0))
    FROM unnest(%(folders)s::text[]) AS folder
    UNION ALL
    SELECT pg_advisory_xact_lock(hashtextextended(%(workspace)s || '/' || %(path)s, 0))
"""

_FIND_CONFLICT = """
    (
        SELECT path, false
        FROM artifacts
        WHERE workspace = %(workspace)s
            AND path = ANY(%(folders)s::text[])
        LIMIT 1
    )
    UNION ALL
    (
        SELECT name, true
        FROM unnest(%(names)s::text[]) AS name
        WHERE EXISTS (
            SELECT
            FROM artifacts
            WHERE workspace = %(workspace)s
                AND path > name || '/' COLLATE "C"
                AND path < name || '0' COLLATE "C"
        )
        LIMIT 1
    )
"""

_SELECT = """
    SELECT path, size, sha256, artifacts.create_time, blob_id, object_key
    FROM artifacts
    JOIN blobs USING (blob_id)
    WHERE artifacts.workspace = %(workspace)s
        AND path = %(path)s
"""

_LOCK_CONTENTS = """
    SELECT blob_id
    FROM artifacts
    WHERE workspace = %(workspace)s
        AND path = %(path)s
    FOR SHARE
"""

_HAS_OBJECT = "SELECT FROM blobs WHERE object_key = %(object_key)s"

_PUT = """
    WITH before AS (
        SELECT blob_id
        FROM artifacts
        WHERE workspace = %(workspace)s
            AND path = ANY(%(names)s::text[])
        FOR UPDATE
    ),
    put AS (
        INSERT INTO artifacts (workspace, path, blob_id, create_time)
        SELECT %(workspace)s, name, blob_id, %(now)s
        FROM unnest(%(names)s::text[], %(blob_ids)s::bigint[]) AS new (name, blob_id)
        ON CONFLICT (workspace, path) DO UPDATE
        SET blob_id = excluded.blob_id,
            create_time = excluded.create_time
    )
    INSERT INTO releases (blob_id)
    SELECT blob_id
    FROM before
"""

# One step of the index a entry, however many files are below it: from each path to the first one that is neither it nor
# in the same folder.
_LIST = """
    WITH RECURSIVE entries AS (
        (
            SELECT path, blob_id, 1 AS number
            FROM artifacts
            WHERE workspace = %(workspace)s
                AND path >= %(lower)s
                AND path < %(upper)s
            ORDER BY path
            LIMIT 1
        )
        UNION ALL
        SELECT next.path, next.blob_id, entries.number + 1
        FROM entries
        CROSS JOIN LATERAL (
            SELECT path, blob_id
            FROM artifacts
            WHERE workspace = %(workspace)s
                AND path >= CASE
                    WHEN strpos(substr(entries.path, %(start)s), '/') > 0
                    THEN left(entries.path, %(start)s - 1)
                        || split_part(substr(entries.path, %(start)s), '/', 1)
                        || %(after_slash)s
                    ELSE entries.path || %(before_all)s
                END COLLATE "C"
                AND path < %(upper)s
            ORDER BY path
            LIMIT 1
        ) AS next
        WHERE entries.number < %(limit)s
    )
    SELECT split_part(substr(path, %(start)s), '/', 1), strpos(substr(path, %(start)s), '/') > 0, size
    FROM entries
    LEFT JOIN blobs USING (blob_id)
    ORDER BY number
"""

_SELECT_BELOW = """
    SELECT path, blob_id
    FROM artifacts
    WHERE workspace = %(workspace)s
        AND path > %(after)s
        AND path < %(upper)s
    ORDER BY path
    LIMIT %(limit)s
    FOR SHARE
"""

_DELETE = """
    DELETE FROM artifacts
    WHERE workspace = %(workspace)s
        AND path = ANY(%(paths)s::text[])
    RETURNING blob_id
"""

_DELETE_BELOW = """
    DELETE FROM artifacts
    WHERE workspace = %(workspace)s
        AND path IN (
            SELECT path
            FROM artifacts
            WHERE workspace = %(workspace)s
                AND path > %(lower)s
                AND path < %(upper)s
            ORDER BY path
            LIMIT %(limit)s
        )
    RETURNING blob_id
"""


async def reserve(tx: Driver, workspace: str, path: str) -> None:
    """Keep others from naming anything at a path, below it, or above it, until the transaction ends.

    Whoever names a file holds the folders above it together with others and the path alone. All take these locks from
    the top down, so that nobody waits for each other.
    """
    await tx.execute(_RESERVE, {"workspace": workspace, "folders": paths.ancestors(path), "path": path})


async def find_conflict(tx: Driver, workspace: str, names: Sequence[str]) -> Conflict | None:
    """Return what keeps these paths from being files: a file where one needs a folder, or the other way round."""
    folders = {folder for name in names for folder in paths.ancestors(name)}
    question = {"workspace": workspace, "folders": list(folders), "names": list(names)}
    row = await (await tx.execute(_FIND_CONFLICT, question)).fetchone()
    return Conflict(path=row[0], is_folder=row[1]) if row else None


async def put(tx: Driver, workspace: str, names: dict[str, int], *, now: datetime) -> None:
    """Let paths, which are reserved, lead to blobs by id, and release the blobs that they led to before."""
    blob_ids = list(names.values())
    await tx.execute(_PUT, {"workspace": workspace, "names": list(names), "blob_ids": blob_ids, "now": now})


async def get(tx: Driver, workspace: str, path: str) -> Artifact | None:
    row = await (await tx.execute(_SELECT, {"workspace": workspace, "path": path})).fetchone()
    if row is None:
        return None
    fields = ("path", "size", "sha256", "create_time", "blob_id", "object_key")
    return Artifact(**dict(zip(fields, row, strict=True)))


async def lock_contents(tx: Driver, workspace: str, path: str) -> int | None:
    """Return the id of the blob that a path leads to, and will lead to until the transaction ends."""
    row = await (await tx.execute(_LOCK_CONTENTS, {"workspace": workspace, "path": path})).fetchone()
    return int(row[0]) if row else None


async def has_object(tx: Driver, object_key: str) -> bool:
    """Whether an object still is what some blob's contents are kept in."""
    return await (await tx.execute(_HAS_OBJECT, {"object_key": object_key})).fetchone() is not None


async def list_folder(tx: Driver, workspace: str, folder: str, *, after: Entry | None, limit: int) -> list[Entry]:
    """Return up to `limit` entries of a folder, `""` for the root, after one of them.

    They come by name, where the name of a folder counts with its slash.
    """
    prefix = f"{folder}/" if folder else ""
    lower = prefix
    if after is not None:
        lower += after.name + (_AFTER_SLASH if after.is_dir else _BEFORE_ALL)
    question = {
        "workspace": workspace,
        "lower": lower,
        "upper": f"{folder}{_AFTER_SLASH}" if folder else _AFTER_ALL,
        "start": len(prefix) + 1,
        "after_slash": _AFTER_SLASH,
        "before_all": _BEFORE_ALL,
        "limit": limit,
    }
    rows = await (await tx.execute(_LIST, question)).fetchall()
    return [Entry(name=name, size=None if is_dir else size) for name, is_dir, size in rows]


async def select_below(
    tx: Driver, workspace: str, folder: str, *, after: str | None, limit: int
) -> list[tuple[str, int]]:
    """Return up to `limit` files in a folder, however deep, after a path: path and blob id, by path.

    They keep their contents until the transaction ends.
    """
    question = {
        "workspace": workspace,
        "after": after or f"{folder}/",
        "upper": f"{folder}{_AFTER_SLASH}",
        "limit": limit,
    }
    return [(path, blob_id) for path, blob_id in await (await tx.execute(_SELECT_BELOW, question)).fetchall()]


async def delete(tx: Driver, workspace: str, path: str) -> list[int]:
    """Delete the file at a path; return the id of the blob that it led to, if there was one."""
    deleted = await tx.execute(_DELETE, {"workspace": workspace, "paths": [path]})
    return [blob_id for (blob_id,) in await deleted.fetchall()]


async def delete_below(tx: Driver, workspace: str, folder: str, *, limit: int) -> list[int]:
    """Delete up to `limit` files in a folder, however deep, `""` for the root; return the ids of their blobs."""
    bounds = {
        "workspace": workspace,
        "lower": f"{folder}/" if folder else "",
        "upper": f"{folder}{_AFTER_SLASH}" if folder else _AFTER_ALL,
        "limit": limit,
    }
    deleted = await tx.execute(_DELETE_BELOW, bounds)
    return [blob_id for (blob_id,) in await deleted.fetchall()]
