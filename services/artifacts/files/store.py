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
    SELECT CASE
        WHEN is_file THEN pg_advisory_xact_lock(hashtextextended(%(workspace)s || '/' || path, 0))
        ELSE pg_advisory_xact_lock_shared(hashtextextended(%(workspace)s || '/' || path, 0))
    END
    FROM unnest(%(paths)s::text[], %(are_files)s::boolean[]) AS reserved (path, is_file)
"""

# Without its LIMIT the second join would become one of all names with all files.
_FIND_CONFLICTS = """
    SELECT path, false
    FROM artifacts
    WHERE workspace = %(workspace)s
        AND path = ANY(%(folders)s::text[])
    UNION ALL
    SELECT name, true
    FROM unnest(%(names)s::text[]) AS name
    CROSS JOIN LATERAL (
        SELECT
        FROM artifacts
        WHERE workspace = %(workspace)s
            AND path > name || '/' COLLATE "C"
            AND path < name || '0' COLLATE "C"
        LIMIT 1
    ) AS below
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
        ORDER BY path
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
            FOR UPDATE
        )
    RETURNING blob_id
"""


async def reserve(tx: Driver, workspace: str, *names: str) -> None:
    """Keep others from naming anything at these paths, below them, or above them, until the transaction ends.

    None of them may lie below another. Whoever names a file holds the folders above it together with others and the
    path alone. All take these locks from the top down, and on one level by name, so that nobody waits for each other.
    """
    folders = {folder for name in names for folder in paths.ancestors(name)}
    in_order = sorted({*folders, *names}, key=lambda path: (path.count("/"), path))
    are_files = [path not in folders for path in in_order]
    await tx.execute(_RESERVE, {"workspace": workspace, "paths": in_order, "are_files": are_files})


async def find_conflicts(tx: Driver, workspace: str, names: Sequence[str]) -> list[Conflict]:
    """Return what keeps these paths from being files: a file where one needs a folder, or the other way round."""
    folders = {folder for name in names for folder in paths.ancestors(name)}
    question = {"workspace": workspace, "folders": list(folders), "names": list(names)}
    rows = await (await tx.execute(_FIND_CONFLICTS, question)).fetchall()
    return [Conflict(path=path, is_folder=is_folder) for path, is_folder in rows]


async def put(tx: Driver, workspace: str, names: dict[str, int], *, now: datetime) -> None:
    """Let paths, which are reserved, lead to blobs by id, and release the blobs that they led to before."""
    in_order = sorted(names)
    blob_ids = [names[name] for name in in_order]
    await tx.execute(_PUT, {"workspace": workspace, "names": in_order, "blob_ids": blob_ids, "now": now})


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
