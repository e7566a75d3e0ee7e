"""The bounds of S3: of an object, of one piece, of a part but the last, and of how many parts there are."""

from services.common.errors import InvalidArgument

OBJECT_BYTES_MAX = 5 * 1024**4
PIECE_BYTES_MAX = 5 * 1024**3
PART_BYTES_MIN = 5 * 1024**2
PARTS_MAX = 10_000


def check_size(size: int | None) -> None:
    """Raises InvalidArgument for a size that no object can have."""
    if size is not None and not 0 <= size <= OBJECT_BYTES_MAX:
        raise InvalidArgument(f"A file cannot have {size} bytes: at most {OBJECT_BYTES_MAX} can be stored.")


def in_parts(size: int | None) -> bool:
    """Whether contents of that size, if it is known, may be sent in parts."""
    return size is None or size > PIECE_BYTES_MAX
