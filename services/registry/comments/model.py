"""A comment on a version, and the rules on it that need no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import InvalidArgument, NotFound
from services.registry import ids
from services.registry.permissions.model import Level

LENGTH_MAX = 65_535
EDIT, DELETE = "EDIT_COMMENT", "DELETE_COMMENT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comment:
    """Times are milliseconds since the Unix epoch; `available_actions` is what the caller may do about it."""

    comment_id: int
    registered_model_id: int
    version: int
    user_id: str
    comment: str
    creation_timestamp: int
    last_updated_timestamp: int
    available_actions: Sequence[str] = ()

    @property
    def id(self) -> str:
        """What clients know it by."""
        return ids.encode(self.comment_id)


def check(comment: str) -> None:
    """Raises InvalidArgument unless a comment has 1 to 65,535 characters."""
    if not 1 <= len(comment) <= LENGTH_MAX:
        raise InvalidArgument(f"'comment' must have 1 to {LENGTH_MAX} characters, but has {len(comment)}.")


def actions(comment: Comment, *, caller: str, level: Level) -> list[str]:
    """Return what a caller may do: authors edit and delete, as long as they may read, and managers delete."""
    if comment.user_id == caller:
        return [EDIT, DELETE]
    return [DELETE] if level >= Level.MANAGE else []


def not_found(id_: str) -> NotFound:
    """Return the error for a comment that there is not, or that the caller may not read."""
    return NotFound(f"Comment with id={id_[:100]} not found")
