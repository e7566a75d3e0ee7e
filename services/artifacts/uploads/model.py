"""What is being sent, from before its first byte until it has a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.artifacts.bounds import PARTS_MAX
from services.common.errors import InvalidArgument


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """A file on its way.

    `object_key` is where its bytes go, None once it was completed; `store_upload_id` is what the object store calls its
    parts, and `size` its bytes where they were announced.
    """

    upload_id: str
    workspace: str
    path: str
    object_key: str | None
    has_parts: bool
    store_upload_id: str | None
    size: int | None
    create_time: datetime

    @property
    def key(self) -> str:
        """The object's key while the upload goes on."""
        assert self.object_key is not None, "completed"
        return self.object_key


def object_key(workspace: str, new_id: str) -> str:
    """Return the key for a new object; `new_id` is 32 hexadecimal digits.

    The two in the middle spread the objects of stores that keep folders.
    """
    return f"{workspace}/{new_id[:2]}/{new_id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a client shall send a part, or the only piece, which has the number 1."""

    part_number: int
    url: str


def check_part_count(count: int) -> None:
    """Raises InvalidArgument."""
    if not 1 <= count <= PARTS_MAX:
        raise InvalidArgument(f"An upload has 1 to {PARTS_MAX} parts, not {count}.")


def check_part_numbers(numbers: Sequence[int]) -> None:
    """Raises InvalidArgument unless there are numbers, each of them possible and none there twice."""
    check_part_count(len(numbers))
    if min(numbers) < 1 or max(numbers) > PARTS_MAX or len(set(numbers)) < len(numbers):
        raise InvalidArgument(f"The numbers of parts must be different ones from 1 to {PARTS_MAX}.")
