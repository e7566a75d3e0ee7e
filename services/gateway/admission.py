"""Bounds how many requests are under way at once, in all and of one caller, so that none takes all the room."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from services.gateway.errors import overloaded


class Admission:
    """Counts requests under way."""

    def __init__(self, *, requests_max: int, per_caller_max: int) -> None:
        self._requests_max = requests_max
        self._per_caller_max = per_caller_max
        self._of_caller: Counter[str] = Counter()
        self._all = 0

    @property
    def count(self) -> int:
        """How many are under way."""
        return self._all

    @contextlib.contextmanager
    def admit(self, caller: str) -> Iterator[None]:
        """Count a request for the length of the block. Raises ResourceExhausted when there are too many."""
        if self._all >= self._requests_max:
            raise overloaded(f"The gateway answers {self._requests_max} requests at once")
        if self._of_caller[caller] >= self._per_caller_max:
            raise overloaded(f"The gateway answers {self._per_caller_max} requests of a caller at once")
        self._all += 1
        self._of_caller[caller] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]
