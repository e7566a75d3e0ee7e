"""Bounded waits for conditions that nothing announces."""

import time
from collections.abc import Callable

Pause = Callable[[float], None]
"""Waits at most the given seconds. May raise to abandon whatever was being waited for."""

_POLL_INTERVAL_S = 0.01


def until(condition: Callable[[], bool], *, timeout_s: float, pause: Pause = time.sleep) -> bool:
    """Poll `condition` until it holds. Returns whether it did within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        pause(_POLL_INTERVAL_S)
    return True
