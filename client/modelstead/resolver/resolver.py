"""`ModelResolver`: which version a name stands for, answered within the process."""

import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MappingProxyType, TracebackType

import grpc

from modelstead.resolver import model as models
from modelstead.resolver.cache import Cache, CacheError
from modelstead.resolver.channels import Connector, Quiet, Tls, Token
from modelstead.resolver.errors import AccessDenied, Closed, ModelNotFound, StaleError, TooManyModels, Unavailable
from modelstead.resolver.knowledge import Clock, Knowledge
from modelstead.resolver.model import Answer, Change, Model, ModelStatus, Query, ResolvedModel, Status
from modelstead.resolver.watching import NAMES_MAX, Watcher, describe
from modelstead.resolver.workers import Worker

CLOSE_TIMEOUT_S = 5.0
STALENESS_MIN_S = 20.0
_FORK_TIMEOUT_S = 2.0
_END_TIMEOUT_S = 0.25
_SAVE_INTERVAL_S = 1.0
# Between changes the file is renewed this seldom, for the times in it.
_RENEW_INTERVAL_S = 60.0

_log = logging.getLogger("modelstead.resolver")

Callback = Callable[[Change], None]


class ModelResolver:
    """Answers from memory what the registry's stream keeps true; from disk while the registry is away at the start.

    Threads may share one. It begins to follow the registry with the first `get`, or with `start`, and again after a
    fork, in both processes. See docs/model-resolver.md for what is guaranteed.
    """

    def __init__(
        self,
        address: str,
        *,
        names: Iterable[str] = (),
        cache_dir: str | os.PathLike[str] | None = None,
        token: Token = None,
        tls: Tls = False,
        max_staleness_s: float | None = None,
        wait_s: float = 5.0,
        workspace: str = "default",
        clock: Clock = time,
    ) -> None:
        """`address` is `host:port` of the registry or any target that gRPC takes; `names` are followed from the start.

        `token` may be a function, asked for each call. `tls` is True, for the system's authorities, or the
        credentials of a channel. The first `get` of a model waits up to `wait_s`; past `max_staleness_s`, if given,
        answers are refused.
        Raises TooManyModels for more than 1,000 names, ValueError for `max_staleness_s` below 20.
        """
        self._names = dict.fromkeys(names)
        if len(self._names) > NAMES_MAX:
            raise TooManyModels(f"names has {len(self._names)} models; at most {NAMES_MAX} can be watched.")
        if max_staleness_s is not None and max_staleness_s < STALENESS_MIN_S:
            raise ValueError(
                f"max_staleness_s={max_staleness_s:g} is less than {STALENESS_MIN_S:g}: the registry confirms what has "
                "not changed every 15 s."
            )
        self._connector = Connector(address, token=token, tls=tls)
        self._max_staleness_s = max_staleness_s
        self._wait_s = wait_s
        self._clock = clock
        self._knowledge = Knowledge(clock)
        self._cache = Cache(Path(cache_dir), address=address, workspace=workspace, clock=clock) if cache_dir else None
        self._cache_error: str | None = None
        self._saved_at = 0.0
        self._callbacks: tuple[Callback, ...] = ()
        self._closed = False
        self._started = False
        self._begin()
        self._load()
        _stop_for_forks(self)

    def __enter__(self) -> "ModelResolver":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(
        self,
        reference: str | None = None,
        *,
        name: str | None = None,
        alias: str | None = None,
        stage: str | None = None,
        version: str | int | None = None,
    ) -> ResolvedModel:
        """Return the version that `fraud@champion`, `fraud/Production` or `fraud/3` stands for, or the same as `name`
        and one of `alias`, `stage` and `version`. `latest` is the newest version, as an alias or in place of a stage.

        Raises ModelNotFound, AliasNotFound, StageNotFound, VersionNotFound, AccessDenied, InvalidReference; Unavailable
        if the registry does not answer and nothing is known from before; StaleError past `max_staleness_s`.
        """
        if reference is not None:
            query = models.parse(reference)
        else:
            query = models.query(name, alias=alias, stage=stage, version=version)
        model = self._knowledge.models.get(query.name)
        answer = model.answers.get(query.key) if model else None
        if answer is None:
            answer = self._find(query)
        return answer.resolved.aged(self._age_s(query.name, answer.freshness.confirmed_at))

    def on_change(self, callback: Callback) -> Callable[[], None]:
        """Have `callback` called with each change of a watched model, one after the other, those of a model by rising
        revision; changes that come while it runs may be told as one. What it raises is logged.

        Returns what takes it off again.
        """
        self._callbacks = (*self._callbacks, callback)
        self.start()

        def remove() -> None:
            self._callbacks = tuple(one for one in self._callbacks if one is not callback)

        return remove

    def status(self) -> Status:
        """Return whether the registry is connected, and what is known of each watched model."""
        watcher = self._watcher
        return Status(
            connected=watcher.connected,
            since=watcher.since,
            error=watcher.error,
            cache_error=self._cache_error,
            models=MappingProxyType({name: self._status_of(name) for name in list(self._names)}),
        )

    def start(self) -> None:
        """Begin to follow the registry now and not with the first `get`. Raises Closed, and RuntimeError if no more
        threads can be made.
        """
        with self._lock:
            if self._closed:
                raise Closed(f"The resolver of {self._connector.address} has been closed.")
            if not self._started:
                self._follow()

    def close(self) -> None:
        """Stop, within five seconds, and keep what is known on disk."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            started = self._started
            self._started = False
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        ended = self._watcher.stop(timeout_s=CLOSE_TIMEOUT_S / 2) if started else True
        self._knowledge.keep_all()
        if started and self._cache:
            self._saver.poke()
        for worker in (self._saver, self._teller):
            ended &= worker.stop(timeout_s=max(0.0, deadline - time.monotonic()))
        if not ended:
            _log.warning("The resolver of %s did not end within %s seconds.", self._connector.address, CLOSE_TIMEOUT_S)

    def _begin(self) -> None:
        """Make everything that threads share, as it is before any has started."""
        self._lock = threading.Lock()
        self._started = False
        # Not the lock that a fork takes: the thread that takes this one must be able to end before.
        self._telling = threading.Lock()
        self._changes: dict[str, Change] = {}
        self._saver = Worker(self._save, name="modelstead-resolver-save", interval_s=_SAVE_INTERVAL_S)
        self._teller = Worker(self._tell, name="modelstead-resolver-tell")
        self._renew_watcher()

    def _renew_watcher(self) -> None:
        self._watcher = Watcher(
            self._connector, self._knowledge, names=self._names, heard=self._heard, clock=self._clock
        )

    def _follow(self) -> None:
        """Start the watcher. Raises RuntimeError if no more threads can be made; the next `get` tries again."""
        try:
            self._watcher.start()
        except RuntimeError:
            self._watcher.stop(timeout_s=_FORK_TIMEOUT_S)
            self._renew_watcher()
            self._knowledge.keep_all()
            raise
        self._started = True

    def _find(self, query: Query) -> Answer:
        """Return an answer that the snapshot has not got at once."""
        model = self._model(query.name)
        age_s = self._age_s(query.name, model.freshness.confirmed_at)
        if not model.exists:
            raise ModelNotFound(f"There is no registered model {query.name!r} (known for {age_s:.0f} s).")
        answer = model.answers.get(query.key)
        kind, version = query.key
        if answer is None and kind == "version":
            answer = self._pin(model, version)
        if answer is None:
            raise models.missing(query)
        return answer

    def _model(self, name: str) -> Model:
        """Return a model, watched from now on; wait until the registry has told of it, or is found not to."""
        known = self._knowledge.models.get(name)
        if known and name in self._names:
            return known
        try:
            self.start()
        except RuntimeError:
            if kept := self._knowledge.kept(name):
                return kept
            raise
        watcher = self._watcher
        watcher.watch(name)
        failures, deadline = watcher.failures, time.monotonic() + self._wait_s
        with self._knowledge.news:
            self._knowledge.news.wait_for(
                lambda: (
                    name in self._knowledge.models
                    or name in watcher.refused
                    or (watcher.failures > failures and self._knowledge.kept(name) is not None)
                ),
                timeout=max(0.0, deadline - time.monotonic()),
            )
        self._knowledge.release(name)
        if known := self._knowledge.models.get(name):
            return known
        if name in watcher.refused:
            raise AccessDenied(f"The registry does not tell of model {name!r}: {watcher.refused[name]}")
        raise Unavailable(
            f"Nothing is known of model {name!r}, and the registry at {self._connector.address} does not answer: "
            f"{watcher.error or f'nothing within {self._wait_s:g} s'}"
        )

    def _pin(self, model: Model, version: str) -> Answer | None:
        """Ask the registry for a version that no alias or stage stands for, and know it from now on."""
        if model.name not in self._knowledge.models:
            raise Unavailable(
                f"Version {version!r} of model {model.name!r} is not known, and no thread can be made that follows the "
                f"registry at {self._connector.address}."
            )
        pin = model.pinned.get(version)
        if pin is None or pin.revision < model.revision:
            try:
                answer = self._watcher.ask(
                    model.name, version, min_revision=model.revision, timeout_s=max(0.1, self._wait_s)
                )
            except grpc.RpcError as error:
                raise Unavailable(
                    f"Version {version!r} of model {model.name!r} is not known, and the registry at "
                    f"{self._connector.address} does not answer: {describe(error)}"
                ) from error
            self._knowledge.pin(model.name, version, answer)
            if self._cache:
                self._saver.poke()
        known = self._knowledge.models.get(model.name)
        return known.answers.get(("version", version)) if known else None

    def _age_s(self, name: str, confirmed_at: float) -> float:
        age_s = max(0.0, self._clock.monotonic() - confirmed_at)
        if self._max_staleness_s is not None and age_s > self._max_staleness_s:
            raise StaleError(
                f"What is known of model {name!r} was last confirmed {age_s:.0f} s ago, and max_staleness_s is "
                f"{self._max_staleness_s:g}."
            )
        return age_s

    def _status_of(self, name: str) -> ModelStatus:
        model = self._knowledge.models.get(name) or self._knowledge.kept(name)
        error = self._watcher.refused.get(name)
        if model is None:
            return ModelStatus(error=error)
        return ModelStatus(
            revision=model.revision,
            exists=model.exists,
            age_s=self._knowledge.age_s(model.freshness),
            behind_revision=self._knowledge.behind(name),
            error=error,
        )

    def _heard(self, change: Change | None) -> None:
        if self._cache and (change or time.monotonic() - self._saved_at > _RENEW_INTERVAL_S):
            self._saver.poke()
        if change and self._callbacks:
            with self._telling:
                pending = self._changes.pop(change.name, None)
                self._changes[change.name] = pending.then(change) if pending else change
            self._teller.poke()

    def _tell(self) -> None:
        while True:
            with self._telling:
                if not self._changes or self._closed:
                    return
                change = self._changes.pop(next(iter(self._changes)))
            for callback in self._callbacks:
                try:
                    callback(change)
                except Exception:  # noqa: BLE001 -- it is the caller's code
                    _log.exception("A callback failed for revision %d of %r.", change.revision, change.name)

    def _load(self) -> None:
        if self._cache is None:
            return
        try:
            self._knowledge.keep(self._cache.load())
        except CacheError as error:
            self._cache_error = str(error)
            _log.warning("%s It is left aside, and written anew.", error)

    def _save(self) -> None:
        assert self._cache
        self._saved_at = time.monotonic()
        try:
            self._cache.save(self._knowledge.known())
            self._cache_error = None
        except CacheError as error:
            if str(error) != self._cache_error:
                _log.warning("%s", error)
            self._cache_error = str(error)

    def _before_fork(self) -> None:
        """Leave gRPC: a channel that is open while a process forks breaks the child, in old releases by a crash."""
        self._lock.acquire()
        if self._started:
            self._watcher.stop(timeout_s=_FORK_TIMEOUT_S)

    def _after_fork_in_parent(self) -> None:
        started, self._started = self._started, False
        try:
            if started:
                self._renew_watcher()
                self._follow()
        except RuntimeError as error:
            _log.warning("The registry at %s is not followed after a fork: %s.", self._connector.address, error)
        finally:
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._knowledge.keep_all()
        self._begin()


@functools.cache
def _wait_for_grpc_before_forks() -> None:
    """Before a fork, what was registered last comes first: so this comes after each resolver has left gRPC."""
    os.register_at_fork(before=functools.partial(Quiet().wait, _END_TIMEOUT_S))


def _stop_for_forks(resolver: ModelResolver) -> None:
    """Tell a resolver of forks for as long as it lives. A process that only runs another program does not count."""
    if not hasattr(os, "register_at_fork"):
        return
    _wait_for_grpc_before_forks()
    living = weakref.ref(resolver)

    def tell(method: Callable[[ModelResolver], None]) -> Callable[[], None]:
        def run() -> None:
            if found := living():
                method(found)

        return run

    os.register_at_fork(
        before=tell(ModelResolver._before_fork),
        after_in_parent=tell(ModelResolver._after_fork_in_parent),
        after_in_child=tell(ModelResolver._after_fork_in_child),
    )
