"""What may be logged: MLflow 3.18's rules for names and the platform's for numbers, checked where mistakes are made."""

import posixpath
import re
from typing import Any

KEY_LENGTH_MAX = 250
PARAM_VALUE_LENGTH_MAX = 6000
TAG_VALUE_LENGTH_MAX = 8000
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_KEY = re.compile(r"[/\w.\- :]+")


def check_key(what: str, key: Any) -> None:
    """Raises TypeError or ValueError unless `key` can name a metric, a parameter or a tag."""
    if not isinstance(key, str):
        raise TypeError(f"{what} name {key!r} is {type(key).__name__}, not str")
    if len(key) > KEY_LENGTH_MAX:
        raise ValueError(f"{what} name {key[:60]!r}… has {len(key)} characters; at most {KEY_LENGTH_MAX} are allowed")
    if not _KEY.fullmatch(key):
        raise ValueError(f"{what} name {key!r} may only have letters, digits and / _ - . : and spaces")
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        raise ValueError(f"{what} name {key!r} would be another one, {normal!r}, as the name of a file")


def number(key: str, value: Any) -> float:
    """Return a metric's value as a float; anything that `float` takes, but no text. Raises TypeError or ValueError."""
    if isinstance(value, str | bytes):
        raise TypeError(f"value {value!r} of metric {key!r} is text, not a number")
    try:
        return float(value)
    except Exception as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"value of metric {key!r}, {_shown(value)}, is not a number: {error}") from error


def whole_number(what: str, value: Any, *, minimum: int = INT64_MIN) -> int:
    """Return an int of 64 bits; also of another whole number, as numpy's. Raises TypeError or ValueError."""
    try:
        found = int(value)
        is_whole = not isinstance(value, str | bytes) and bool(found == value)
    except Exception as error:
        raise TypeError(f"{what} {_shown(value)} is not a whole number") from error
    if not is_whole:
        raise TypeError(f"{what} {value!r} is not a whole number")
    if not minimum <= found <= INT64_MAX:
        raise ValueError(f"{what} {value!r} is not between {minimum} and {INT64_MAX}")
    return found


def texts(what: str, values: Any, *, length_max: int) -> dict[str, str]:
    """Return parameters or tags as text, cut to `length_max` characters as MLflow cuts them. Raises TypeError or
    ValueError.
    """
    found = {}
    for key, value in dict(values).items():
        check_key(what, key)
        try:
            text = str(value)
        except Exception as error:
            raise ValueError(f"{what} {key!r} has a value that is no text, {_shown(value)}: {error}") from error
        if "\x00" in text:
            raise ValueError(f"{what} {key!r} has a NUL character in its value")
        found[key] = text.encode("utf-8", "replace").decode()[:length_max]
    return found


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - other people's code, which may raise anything
        return f"a {type(value).__name__} that cannot be shown"
