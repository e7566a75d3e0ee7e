"""Numbers as people read them; static/js/units.js writes the same where scripts keep a page current."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def number(value: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,.0f}".replace(",", _NARROW_SPACE)


def byte_count(value: float) -> str:
    """Return a number of bytes in the unit that makes it short."""
    place = 0
    while value >= 1024 and place < len(_SIZES) - 1:
        value, place = value / 1024, place + 1
    return f"{value:.1f} {_SIZES[place]}" if place else f"{value:.0f} {_SIZES[0]}"


def lag(ms: float) -> str:
    """Return a time that something is late by."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = int(ms // 1000)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def moment(text: str) -> str:
    """Return a time of UTC, given as JSON has it, to the second."""
    return f"{text[:19].replace('T', ' ')} UTC"


def metric(value: Any) -> str:
    """Return a metric's value with the digits that count; what JSON has no number for comes as a text."""
    if isinstance(value, str):
        return value
    text = f"{value:.4g}" if not 1000 <= abs(value) < 1e6 else f"{value:.7g}"
    return re.sub(r"e([+-])0*", lambda match: "e" + match[1].strip("+"), text)


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "text": str,
    "number": number,
    "bytes": byte_count,
    "lag": lag,
    "rate": lambda value: f"{byte_count(value)}/s",
    "moment": moment,
    "yes": lambda value: "yes" if value else "no",
}
"""By the name that templates give to scripts as `data-format`."""
