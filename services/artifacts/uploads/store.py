"""The SQL of uploads: a row names an object's key before anything is sent to it, and ends when a file has it."""

from collections.abc import Sequence
from datetime import datetime

from services.artifacts.blobs import store as blobs
from services.artifacts.files import store as files
from services.artifacts.files.model import Conflict
from services.artifacts.uploads.model import Upload
from services.common.database import Driver

_FIELDS = (
    *("upload_id", "workspace", "path", "object_key"),
    *("has_parts", "store_upload_id", "size", "create_time"),
)
_NEW_FIELDS = tuple(name for name in _FIELDS if name != "store_upload_id")

_INSERT = """
    INSERT INTO uploads (
        upload_id, workspace, path, object_key, has_parts, store_upload_id, size, create_time
    )
    VALUES (
        %(upload_id)s, %(workspace)s, %(path)s, %(object_key)s,
        %(has_parts)s, %(store_upload_id)s, %(size)s, %(create_time)s
    )
"""

_INSERT_MANY = """
    INSERT INTO uploads (upload_id, workspace, path, object_key, has_parts, size, create_time)
    SELECT upload_id, workspace, path, object_key, has_parts, size, create_time
    FROM unnest(
        %(upload_id)s::text[], %(workspace)s::text[], %(path)s::text[], %(object_key)s::text[],
        %(has_parts)s::boolean[], %(size)s::bigint[], %(create_time)s::timestamptz[]
    ) AS new (upload_id, workspace, path, object_key, has_parts, size, create_time)
"""

_SELECT = """
    SELECT upload_id, workspace, path, object_key, has_parts, store_upload_id, size, create_time
    FROM uploads
    WHERE upload_id = %(upload_id)s
"""

_SET_STORE_UPLOAD_ID = """
    UPDATE uploads
    SET store_upload_id = %(store_upload_id)s
    WHERE upload_id = %(upload_id)s
"""

_DELETE_MANY = """
    DELETE FROM uploads
    WHERE upload_id = ANY(%(upload_ids)s::text[])
        AND object_key IS NOT NULL
    RETURNING upload_id
"""

_DELETE = """
    DELETE FROM uploads
    WHERE upload_id = %(upload_id)s
        AND object_key IS NOT NULL
    RETURNING object_key, has_parts
"""

_MARK_COMPLETED = """
    UPDATE uploads
    SET object_key = NULL
    WHERE upload_id = %(upload_id)s
        AND object_key IS NOT NULL
    RETURNING upload_id
"""


async def add(tx: Driver, upload: Upload) -> None:
    await tx.execute(_INSERT, {name: getattr(upload, name) for name in _FIELDS})


async def add_many(tx: Driver, uploads: Sequence[Upload]) -> None:
    """Add uploads of which nothing was sent to the store yet."""
    await tx.execute(_INSERT_MANY, {name: [getattr(each, name) for each in uploads] for name in _NEW_FIELDS})


async def get(tx: Driver, upload_id: str) -> Upload | None:
    row = await (await tx.execute(_SELECT, {"upload_id": upload_id})).fetchone()
    return Upload(**dict(zip(_FIELDS, row, strict=True))) if row else None


async def set_store_upload_id(tx: Driver, upload_id: str, store_upload_id: str) -> None:
    await tx.execute(_SET_STORE_UPLOAD_ID, {"upload_id": upload_id, "store_upload_id": store_upload_id})


async def complete(tx: Driver, upload_id: str) -> bool:
    """Take the object's key out of the uploads, as it becomes a blob's, and remember that the upload was completed.

    Return False if the upload was ended before.
    """
    completed = await tx.execute(_MARK_COMPLETED, {"upload_id": upload_id})
    return await completed.fetchone() is not None


async def end_many(tx: Driver, upload_ids: Sequence[str]) -> set[str]:
    """Take the keys of objects out of the uploads, as they become blobs', and forget these uploads.

    Return those that had not been ended before.
    """
    ended = await tx.execute(_DELETE_MANY, {"upload_ids": list(upload_ids)})
    return {upload_id for (upload_id,) in await ended.fetchall()}


async def discard(tx: Driver, upload_id: str, *, now: datetime) -> bool:
    """Make an upload's object garbage; return False, and do nothing, if the upload was ended before."""
    ended = await (await tx.execute(_DELETE, {"upload_id": upload_id})).fetchone()
    if ended is not None:
        object_key, has_parts = ended
        await blobs.discard(tx, object_key, has_parts=has_parts, now=now)
    return ended is not None


async def name(tx: Driver, upload: Upload, *, size: int, now: datetime) -> list[Conflict]:
    """Give a completed upload's contents, whose hash nobody knows yet, their name.

    Return what is in the way, with the transaction to be given up.
    """
    await files.reserve(tx, upload.workspace, upload.path)
    conflicts = await files.find_conflicts(tx, upload.workspace, [upload.path])
    if not conflicts:
        blob_id = await blobs.add(
            tx, workspace=upload.workspace, object_key=upload.key, size=size, sha256=None, now=now
        )
        await files.put(tx, upload.workspace, {upload.path: blob_id}, now=now)
    return conflicts
