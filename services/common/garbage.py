"""How a server collects garbage: seldom, for its objects come and go by the ten thousand and hold no cycles."""

import gc

_COLLECT_AFTER = (50_000, 20, 100)


def collect_seldom() -> None:
    """Leave out what stands when this is called, and look for cycles among the rest seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
