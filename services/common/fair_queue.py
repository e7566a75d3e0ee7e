"""A queue in which who brings much waits for himself: lanes take turns, and so do the lanes within a lane."""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of one lane leave in the order in which they came; lanes take turns, one item each.

    A path names the lane, the lane within it, and so on; every item of a queue has a path of the same length. An empty
    path makes it a plain queue.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        # In the order of their turns.
        self._lanes: dict[Hashable, FairQueue[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, path: Sequence[Hashable], item: T) -> None:
        """Add an item at the end of its lane."""
        self._count += 1
        if not path:
            self._items.append(item)
            return
        if path[0] not in self._lanes:
            self._lanes[path[0]] = FairQueue()
        self._lanes[path[0]].push(path[1:], item)

    def peek(self) -> T:
        """Return what `pop` would; there is at least one item."""
        return self._items[0] if self._items else next(iter(self._lanes.values())).peek()

    def pop(self) -> T:
        """Remove the next item and return it; there is at least one."""
        self._count -= 1
        if self._items:
            return self._items.popleft()
        name = next(iter(self._lanes))
        lane = self._lanes.pop(name)
        item = lane.pop()
        if lane:
            self._lanes[name] = lane
        return item
