"""How numbers, times and sizes read: short, and of one width where they stand below each other."""

import math
from typing import Any

from modelstead.commands.times import written

# What an infinite metric is stored as.
_INFINITE = 1.7976931348623157e308
_SECOND_MS, _MINUTE_MS, _HOUR_MS, _DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
_AGO_DAYS_MAX = 14


def plain(text: str) -> str:
    """Return a text without what would command the terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)


def one_line(text: str) -> str:
    """Return a text without line breaks and without what would command the terminal."""
    return plain(" ".join(text.split()))


def to_number(value: Any) -> float:
    """Return a metric's value as JSON has it: a number, or `NaN` and the like as text."""
    return float(value)


def is_finite(value: float) -> bool:
    """Return whether a value is a number that is not stored in the place of an infinite one."""
    return math.isfinite(value) and abs(value) < _INFINITE


def number(value: float) -> str:
    """Return a number with five significant digits; whole ones whole."""
    if math.isnan(value):
        return "NaN"
    if not is_finite(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.5g}"


def digits(value: float) -> str:
    """Return a number with all its digits, and `NaN` for none, as JSON of the platform has it."""
    return "NaN" if math.isnan(value) else repr(value)


def amount(value: float) -> str:
    """Return a count or rate with three significant digits and k, M, G or T: `1.73M`."""
    return _scaled(value, 1000, ("", "k", "M", "G", "T"))


def size(count: float) -> str:
    """Return a number of bytes: `293 KiB`."""
    return _scaled(count, 1024, (" B", " KiB", " MiB", " GiB", " TiB"))


def ago(milliseconds: int, now_ms: int) -> str:
    """Return how long ago a time was, or its date after two weeks; nothing for no time."""
    if not milliseconds:
        return ""
    passed = now_ms - milliseconds
    if passed < _SECOND_MS:
        return "now" if passed > -_MINUTE_MS else f"in {lasted(-passed)}"
    if passed < _AGO_DAYS_MAX * _DAY_MS:
        return f"{lasted(passed, parts=1)} ago"
    return written(milliseconds, "%Y-%m-%d")


def lasted(milliseconds: int, *, parts: int = 2) -> str:
    """Return a length of time in its greatest units, at most `parts` of them: `1 h 2 min`."""
    if milliseconds < _SECOND_MS:
        return f"{max(milliseconds, 0)} ms"
    left, texts = milliseconds, []
    for unit_ms, unit in ((_DAY_MS, "d"), (_HOUR_MS, "h"), (_MINUTE_MS, "min"), (_SECOND_MS, "s")):
        count, rest = divmod(left, unit_ms)
        if count:
            texts.append(f"{count} {unit}")
            left = rest
        elif texts:
            # What follows is too little to be told beside the greater unit.
            break
    return " ".join(texts[:parts])


def exact(milliseconds: int) -> str:
    """Return a time as ISO 8601 has it, in one word; nothing for no time."""
    return written(milliseconds, "%Y-%m-%dT%H:%M:%SZ") if milliseconds else ""


def _scaled(value: float, base: int, units: tuple[str, ...]) -> str:
    power = 0
    # From 999.5 on three digits would show the next unit.
    while abs(value) >= base - 0.5 and power < len(units) - 1:
        value, power = value / base, power + 1
    digits = 0 if abs(value) >= 100 or (power == 0 and value == int(value)) else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}{units[power]}"
