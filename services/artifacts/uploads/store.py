"""The SQL of uploads: a row names an object's key before anything is sent to it, and ends when a file has it."""

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

_INSERT = """
    INSERT INTO uploads (
        upload_id, workspace, path, object_key, has_parts, store_upload_id, size, create_time
    )
    VALUES (
        %(upload_id)s, %(workspace)s, %(path)s, %(object_key)s,
        %(has_parts)s, %(store_upload_id)s, %(size)s, %(create_time)s
    )
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


async def get(tx: Driver, upload_id: str) -> Upload | None:
    row = await (await tx.execute(_SELECT, {"upload_id": upload_id})).fetchone()
    return Upload(**dict(zip(_FIELDS, row, strict=True))) if row else None


async def set_store_upload_id(tx: Driver, upload_id: str, store_upload_id: str) -> None:
    await tx.execute(_SET_STORE_UPLOAD_ID, {"upload_id": upload_id, "store_upload_id": store_upload_id})


async def end(tx: Driver, upload_id: str, *, keep: bool) -> bool:
    """Take the object's key out of the uploads, as it becomes a blob's; `keep` remembers that the upload was completed.

    Return False if the upload was ended before.
    """
    ended = await tx.execute(_MARK_COMPLETED if keep else _DELETE, {"upload_id": upload_id})
    return await ended.fetchone() is not None


async def discard(tx: Driver, upload_id: str, *, now: datetime) -> bool:
    """Make an upload's object garbage; return False, and do nothing, if the upload was ended before."""
    ended = await (await tx.execute(_DELETE, {"upload_id": upload_id})).fetchone()
    if ended is not None:
        object_key, has_parts = ended
        await blobs.discard(tx, object_key, has_parts=has_parts, now=now)
    return ended is not None


async def name(tx: Driver, upload: Upload, *, size: int, sha256: str | None, now: datetime) -> Conflict | None:
    """Give an ended upload's contents their name. Return what is in the way, with the transaction to be given up."""
    await files.reserve(tx, upload.workspace, upload.path)
    conflict = await files.find_conflict(tx, upload.workspace, [upload.path])
    if conflict is None:
        blob_id = await blobs.add(
            tx, workspace=upload.workspace, object_key=upload.key, size=size, sha256=sha256, now=now
        )
        await files.put(tx, upload.workspace, {upload.path: blob_id}, now=now)
    return conflict
