"""What a resolver knows: an immutable snapshot that readers take without a lock, and how it changes."""

import threading
from collections.abc import Iterable, Mapping
from typing import Protocol

from modelstead.registry.v1 import lookups_pb2 as pb
from modelstead.resolver.model import Change, Freshness, Model, Pinned, decode_state, decode_version


class Clock(Protocol):
    """Tells the time; the module `time` is one."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def time(self) -> float:
        """Return seconds since the Unix epoch."""


class Knowledge:
    """The models known, by name. `models` is replaced, never changed.

    What comes from disk, or from before a fork, is kept aside until the registry confirms it or is found to be away:
    a process that starts must not answer with yesterday's version when today's is a millisecond away.
    A model never goes back to a lower revision.
    """

    def __init__(self, clock: Clock) -> None:
        self.models: Mapping[str, Model] = {}
        # Notified whenever something is known that was not, and by whoever else has news for those who wait.
        self.news = threading.Condition()
        self._clock = clock
        self._kept: dict[str, Model] = {}
        self._behind: dict[str, int] = {}

    def keep(self, models: Iterable[Model]) -> None:
        """Know models from before, as what they were."""
        with self.news:
            for model in models:
                self._kept.setdefault(model.name, model)

    def keep_all(self) -> None:
        """Treat everything known as from before. Also for a forked child, whose parent's lock may be held for ever."""
        self.news = threading.Condition()
        self._kept = {**self._kept, **self.models}
        self.models = {}

    def known(self) -> list[Model]:
        """Return every model, from before or not."""
        with self.news:
            return list({**self._kept, **self.models}.values())

    def kept(self, name: str) -> Model | None:
        """Return a model from before."""
        return self._kept.get(name)

    def behind(self, name: str) -> int | None:
        """Return the lower revision that the registry said last, if it did."""
        return self._behind.get(name)

    def release(self, name: str) -> None:
        """Answer with a model from before from now on."""
        with self.news:
            if name in self._kept and name not in self.models:
                self._put(self._kept[name])

    def take(self, state: pb.ModelState) -> tuple[bool, Change | None]:
        """Take in what the registry says of a model now. Returns whether it is as new as what is known, and what has
        changed, if anything was known before.
        """
        with self.news:
            before = self.models.get(state.name) or self._kept.get(state.name)
            if before and state.revision < before.revision:
                self._behind[state.name] = state.revision
                return False, None
            self._behind.pop(state.name, None)
            now = self._clock.monotonic()
            if before and state.revision == before.revision and state.exists == before.exists:
                before.freshness.confirmed_at = now
                self._put(before)
                return True, None
            after = decode_state(state, pinned=before.pinned_until_now() if before else {}, freshness=Freshness(now))
            self._put(after)
            return True, before.change_to(after) if before else None

    def pin(self, name: str, version: str, answer: pb.ResolveModelResponse | None) -> None:
        """Know what the registry says of a version by its number; None if it says that there is none."""
        with self.news:
            model = self.models.get(name)
            if model is None:
                return
            revision = answer.revision if answer else model.revision
            known = model.pinned.get(version)
            if known and known.revision > revision:
                return
            resolved = decode_version(answer.model_version, revision=revision) if answer else None
            pin = Pinned(resolved, revision, Freshness(self._clock.monotonic()))
            self._put(model.with_pin(version, pin))

    def confirm(self, names: Iterable[str]) -> None:
        """Note that the registry confirms what is known of models."""
        now = self._clock.monotonic()
        for name in names:
            if model := self.models.get(name):
                model.freshness.confirmed_at = now

    def age_s(self, freshness: Freshness) -> float:
        """Return for how long something has not been confirmed."""
        return max(0.0, self._clock.monotonic() - freshness.confirmed_at)

    def _put(self, model: Model) -> None:
        if self.models.get(model.name) is not model:
            self.models = {**self.models, model.name: model}
        self._kept.pop(model.name, None)
        self.news.notify_all()
