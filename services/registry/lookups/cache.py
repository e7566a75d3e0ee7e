"""The states of models in memory: for how long they are true, and that they never go back."""

import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.common.group_read import GroupRead
from services.registry.events.listener import Listener
from services.registry.lookups.model import ModelState

MODELS_MAX = 10_000
BYTES_MAX = 128 * 1024 * 1024
# Names of one read, so that a small one does not wait long for a large one.
_READ_NAMES_MAX = 100


@dataclass(slots=True)
class _Entry:
    """`is_current` until the model is said to change."""

    state: ModelState
    is_current: bool


class States:
    """Keeps what was read of models, at most 10,000 and 128 MiB, those looked at last.

    A state is given from memory only while the listener hears and nothing said that the model changed: then it is what
    was true at most 250 ms ago. Who misses waits for a read that begins after its asking; many share one. What was
    given once is never followed by an older revision.
    """

    def __init__(
        self,
        read: Callable[[Sequence[str]], Awaitable[Mapping[str, ModelState]]],
        listener: Listener,
        *,
        models_max: int = MODELS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._read = read
        self._reads = GroupRead(self._load, keys_max=_READ_NAMES_MAX)
        self._listener = listener
        self._models_max = models_max
        self._bytes_max = bytes_max
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._bytes_count = 0
        # Names that were said to change while a read was under way, for each read; None stands for all.
        self._changed: list[set[str | None]] = []
        listener.subscribe(self.forget)

    def peek(self, name: str) -> ModelState | None:
        """Return a state that is known and was true at most 250 ms ago."""
        entry = self._entries.get(name)
        if entry is None or not entry.is_current or not self._listener.hears:
            return None
        self._entries.move_to_end(name)
        return entry.state

    def last_known(self, name: str) -> ModelState | None:
        """Return a state as it was read last, however old; good only for what is compared with the database."""
        entry = self._entries.get(name)
        return entry.state if entry else None

    async def fresh(self, name: str) -> ModelState:
        """Return a state that was read after this was called."""
        return await self._reads.get(name)

    def forget(self, name: str | None) -> None:
        """Take a model, or with None all, for changed."""
        entries = self._entries.values() if name is None else filter(None, [self._entries.get(name)])
        for entry in entries:
            entry.is_current = False
        for changed in self._changed:
            changed.add(name)

    async def _load(self, names: Sequence[str]) -> dict[str, ModelState]:
        with self._changes() as changed:
            states = await self._read(names)
            return {
                name: self._keep(state, is_current=changed.isdisjoint((name, None))) for name, state in states.items()
            }

    @contextlib.contextmanager
    def _changes(self) -> Iterator[set[str | None]]:
        changed: set[str | None] = set()
        self._changed.append(changed)
        try:
            yield changed
        finally:
            self._changed = [other for other in self._changed if other is not changed]

    def _keep(self, state: ModelState, *, is_current: bool) -> ModelState:
        known = self._entries.pop(state.name, None)
        if known is not None:
            self._bytes_count -= known.state.bytes_count
            if known.state.revision > state.revision:
                # From a database that lost what it had acknowledged.
                state, is_current = known.state, False
        self._entries[state.name] = _Entry(state, is_current)
        self._bytes_count += state.bytes_count
        while len(self._entries) > self._models_max or (self._bytes_count > self._bytes_max and len(self._entries) > 1):
            _, dropped = self._entries.popitem(last=False)
            self._bytes_count -= dropped.state.bytes_count
        return state
