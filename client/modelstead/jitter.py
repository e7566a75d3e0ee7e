"""Delays that differ from client to client, so that not all of them come back at once."""

from random import SystemRandom

# Training seeds the generator of `random`, and must find it as it left it: this one has no state.
_RANDOM = SystemRandom()


def between(least: float, most: float) -> float:
    """Return a number from one to the other."""
    return _RANDOM.uniform(least, most)
