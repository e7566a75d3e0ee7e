"""Ids that clients see of what is known by a number inside: opaque texts of 32 characters."""

_LENGTH = 32
_NUMBER_MAX = 2**63 - 1


def encode(number: int) -> str:
    """Return the id of a number."""
    return f"{number:0{_LENGTH}x}"


def decode(text: str) -> int | None:
    """Return the number of an id; None for what is no id."""
    if len(text) != _LENGTH or not set(text) <= set("0123456789abcdef"):
        return None
    number = int(text, 16)
    return number if 0 < number <= _NUMBER_MAX else None
