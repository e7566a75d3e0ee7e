"""The SQL of comments: fixed statements, on the driver."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.common.database import Driver
from services.registry.comments.model import Comment
from services.registry.events.model import Subject

_INSERT = """
    INSERT INTO comments (
        registered_model_id, version, user_id, comment, creation_timestamp, last_updated_timestamp
    )
    VALUES (%(registered_model_id)s, %(version)s, %(user_id)s, %(comment)s, %(now_ms)s, %(now_ms)s)
    RETURNING comment_id
"""

_SELECT = """
    SELECT comment_id, registered_model_id, version, user_id, comment, creation_timestamp, last_updated_timestamp
    FROM comments
    WHERE comment_id = %(comment_id)s
"""

_SELECT_OF_VERSION = """
    SELECT comment_id, registered_model_id, version, user_id, comment, creation_timestamp, last_updated_timestamp
    FROM comments
    WHERE registered_model_id = %(registered_model_id)s
        AND version = %(version)s
        AND comment_id > %(after)s
    ORDER BY comment_id
    LIMIT %(limit)s
"""

_UPDATE = """
    UPDATE comments
    SET comment = %(comment)s,
        last_updated_timestamp = %(now_ms)s
    WHERE comment_id = %(comment_id)s
"""

_DELETE = "DELETE FROM comments WHERE comment_id = %(comment_id)s"


async def add(tx: Driver, model: Subject, version: int, *, user_id: str, comment: str, now_ms: int) -> int:
    """Insert a comment on a version, which exists, and return its number."""
    given = {"user_id": user_id, "comment": comment, "now_ms": now_ms}
    key = {"registered_model_id": model.registered_model_id, "version": version}
    row = await (await tx.execute(_INSERT, {**key, **given})).fetchone()
    assert row is not None, "an INSERT returns its row"
    return int(row[0])


async def get(tx: Driver, comment_id: int) -> Comment | None:
    """Return a comment."""
    row = await (await tx.execute(_SELECT, {"comment_id": comment_id})).fetchone()
    return _comment(row) if row else None


async def of_version(tx: Driver, model: Subject, version: int, *, after: int, limit: int) -> list[Comment]:
    """Return a version's comments of higher numbers than `after`, oldest first."""
    given = {"registered_model_id": model.registered_model_id, "version": version, "after": after, "limit": limit}
    return [_comment(row) for row in await (await tx.execute(_SELECT_OF_VERSION, given)).fetchall()]


async def update(tx: Driver, comment_id: int, *, comment: str, now_ms: int) -> None:
    await tx.execute(_UPDATE, {"comment_id": comment_id, "comment": comment, "now_ms": now_ms})


async def delete(tx: Driver, comment_id: int) -> None:
    await tx.execute(_DELETE, {"comment_id": comment_id})


def _comment(row: Sequence[Any]) -> Comment:
    values: Mapping[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    return Comment(**values)


_COLUMNS = (
    "comment_id", "registered_model_id", "version", "user_id", "comment", "creation_timestamp",
    "last_updated_timestamp",
)  # fmt: skip
