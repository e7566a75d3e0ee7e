"""Small curves out of block characters."""

import math
from collections.abc import Sequence

from modelstead.commands.screens.texts import is_finite

_LEVELS = "▁▂▃▄▅▆▇█"
# A value that is not a number has no height.
_GAP = "·"


def sparkline(values: Sequence[float], width: int, *, floor: float | None = None) -> str:
    """Return values as a curve of at most `width` characters, from their least, or from `floor`, to their greatest.
    Where there are more values than characters, each stands for the mean of its share.
    """
    means = [_mean(share) for share in _shares(values, width)]
    known = [mean for mean in means if mean is not None]
    low = min(known, default=0.0) if floor is None else floor
    high = max(known, default=0.0)
    flat = 0.5 if floor is None else 0.0
    return "".join(_GAP if mean is None else _level(mean, low, high, flat) for mean in means)


def by_step(steps: Sequence[int], values: Sequence[float], width: int) -> list[float]:
    """Return at most `width` values, each the mean of those in an equal share of the steps, which are in order. A share
    without any has the value before.
    """
    if not steps or steps[-1] <= steps[0]:
        return list(values)
    count, extent = min(width, steps[-1] - steps[0] + 1), steps[-1] - steps[0]
    shares: list[list[float]] = [[] for _ in range(count)]
    for step, value in zip(steps, values, strict=True):
        at = (step - steps[0]) * count // (extent + 1)
        shares[min(max(at, 0), count - 1)].append(value)
    found: list[float] = []
    for share in shares:
        mean = _mean(share)
        found.append(mean if mean is not None else math.nan if share else found[-1])
    return found


def bar(done: float, width: int) -> str:
    """Return a bar of `width` characters, filled to a part of 0 to 1."""
    filled = round(min(max(done, 0.0), 1.0) * width)
    return "━" * filled + "╌" * (width - filled)


def _shares(values: Sequence[float], width: int) -> list[Sequence[float]]:
    count = min(len(values), width)
    return [values[len(values) * at // count : len(values) * (at + 1) // count] for at in range(count)]


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if is_finite(value)]
    # Each part by itself, as the sum may be too great for a number.
    return sum(value / len(finite) for value in finite) if finite else None


def _level(value: float, low: float, high: float, flat: float) -> str:
    # Halves, as the difference may be too great for a number.
    extent = high / 2 - low / 2
    part = (value / 2 - low / 2) / extent if extent > 0 else flat
    return _LEVELS[min(max(int(part * len(_LEVELS)), 0), len(_LEVELS) - 1)]
