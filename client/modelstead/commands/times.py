"""Times as people read them."""

from datetime import UTC, datetime


def written(milliseconds: int, form: str) -> str:
    """Return a time since the Unix epoch in UTC, in a form of strftime; a time that no calendar reaches, which clients
    may send all the same, as its number of milliseconds.
    """
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):{form}}"
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms"
