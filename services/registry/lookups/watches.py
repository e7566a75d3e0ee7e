"""Tells watchers what models stand at, and again whenever that changes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence

from services.common.errors import DeadlineExceeded, ResourceExhausted, Unavailable
from services.registry.events.listener import Listener
from services.registry.lookups.cache import States
from services.registry.lookups.model import Known, ModelState, Update, check_names

HEARTBEAT_S = 15.0
_RETRY_S = 1.0


class Watches:
    """All watchers of this process. Of each it keeps which of its models may have changed since it was told: a model
    that changes often is told as it is when the watcher takes it, so that a slow one costs no more than a fast one.
    """

    def __init__(self, states: States, listener: Listener, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._states = states
        self._listener = listener
        self._heartbeat_s = heartbeat_s
        self._watchers_of: dict[str, set[_Watcher]] = {}
        listener.subscribe(self._tell)

    async def watch(self, names: Sequence[str], resume_token: str) -> AsyncGenerator[Update, None]:
        """Yield the state of each model that is news to who has the token, then of each that changes; and that all is
        told, at the beginning and after 15 seconds of silence, unless this process does not hear of changes. Raises
        InvalidArgument.
        """
        check_names(names)
        known = Known(names, resume_token)
        with self._watching(names) as watcher:
            silence_s = 0.0
            while True:
                for state in await self._read(watcher):
                    if known.learn(state):
                        yield Update(resume_token=known.token(), state=state)
                if await watcher.is_woken(silence_s):
                    continue
                silence_s = self._heartbeat_s
                if self._listener.hears:
                    yield Update(resume_token=known.token())

    async def _read(self, watcher: "_Watcher") -> list[ModelState]:
        """Return what the models that may have changed stand at, once that can be read."""
        while True:
            names = watcher.take()
            try:
                missed = [name for name in names if self._states.peek(name) is None]
                read = {state.name: state for state in await asyncio.gather(*map(self._states.fresh, missed))}
            except (Unavailable, ResourceExhausted, DeadlineExceeded):
                watcher.wake(*names)
                await asyncio.sleep(_RETRY_S)
            else:
                found = [read.get(name) or self._states.peek(name) for name in names]
                watcher.wake(*(name for name, state in zip(names, found, strict=True) if state is None))
                return [state for state in found if state is not None]

    @contextlib.contextmanager
    def _watching(self, names: Sequence[str]) -> "Iterator[_Watcher]":
        watcher = _Watcher(names)
        for name in names:
            self._watchers_of.setdefault(name, set()).add(watcher)
        try:
            yield watcher
        finally:
            for name in names:
                watchers = self._watchers_of[name]
                watchers.discard(watcher)
                if not watchers:
                    del self._watchers_of[name]

    def _tell(self, name: str | None) -> None:
        for changed in (name,) if name is not None else tuple(self._watchers_of):
            for watcher in self._watchers_of.get(changed, ()):
                watcher.wake(changed)


class _Watcher:
    """The models that may have changed since a watcher took them; at first, all of its."""

    def __init__(self, names: Sequence[str]) -> None:
        self._changed = dict.fromkeys(names)
        self._woken = asyncio.Event()

    def wake(self, *names: str) -> None:
        if names:
            self._changed.update(dict.fromkeys(names))
            self._woken.set()

    def take(self) -> list[str]:
        self._woken.clear()
        names = list(self._changed)
        self._changed.clear()
        return names

    async def is_woken(self, timeout_s: float) -> bool:
        """Whether a model has changed, or changes within a time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return False
        return True
