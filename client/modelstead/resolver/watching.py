"""The thread that follows the registry: one stream for all names, made again whenever it ends."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from modelstead import jitter, tracing
from modelstead.registry.v1 import lookups_pb2 as pb
from modelstead.registry.v1 import lookups_pb2_grpc as pb_grpc
from modelstead.resolver.channels import Connector
from modelstead.resolver.errors import TooManyModels, Unavailable
from modelstead.resolver.knowledge import Clock, Knowledge
from modelstead.resolver.model import Change

NAMES_MAX = 1000
_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 0.1, 10.0
# A stream that ends sooner is not taken for a sign that all is well.
_LASTING_S = 5.0
# How often one message confirms all models.
_CONFIRM_INTERVAL_S = 1.0
# The registry says something every 15 seconds.
_SILENCE_MAX_S = 45.0
_SUPERVISION_S = 5.0
_PIN_TIMEOUT_S = 2.0
_REFUSED_FOR_S = 60.0
_REFUSALS = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT)

_log = logging.getLogger("modelstead.resolver")


class Watcher:
    """Keeps `knowledge` true for the names it was given, until stopped; a stopped one is not started again.

    `heard` is called from its thread after each message, with what changed.
    """

    def __init__(
        self, connector: Connector, knowledge: Knowledge, *, names: dict[str, None],
        heard: Callable[[Change | None], None], clock: Clock,
    ) -> None:  # fmt: skip
        self._connector = connector
        self._knowledge = knowledge
        self._heard = heard
        self._clock = clock
        self.names = names
        self.refused: dict[str, str] = {}
        self.connected = False
        self.since: float | None = None
        self.error: str | None = None
        # How many attempts have ended in failure: who waits for an answer sees in it that there may be none.
        self.failures = 0
        self._refused_until = 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._renamed = False
        self._token = ""
        self._current: set[str] = set()
        self._spoke = False
        self._last_message = self._confirmed_at = time.monotonic()
        self._channel: grpc.Channel | None = None
        self._call: Any = None
        self._threads = [
            threading.Thread(target=run, name=f"modelstead-resolver-{what}", daemon=True)
            for what, run in (("watch", self._run), ("supervision", self._supervise))
        ]

    def start(self) -> None:
        """Begin to follow. Raises RuntimeError if no more threads can be made; then it is to be stopped."""
        for thread in self._threads:
            thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """End the stream and the channel. Returns whether that took at most `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        self._interrupt()
        for thread in self._threads:
            # One that could not be started cannot be joined.
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            channel, self._channel, self._call = self._channel, None, None
        if channel:
            channel.close()
        return not any(thread.is_alive() for thread in self._threads)

    def watch(self, name: str) -> None:
        """Follow one more model. Raises TooManyModels."""
        with self._lock:
            if name in self.names:
                return
            if len(self.names) >= NAMES_MAX:
                raise TooManyModels(f"{NAMES_MAX} models are watched already; {name!r} would be one more.")
            self.names[name] = None
            self._renamed = True
        self._interrupt()

    def ask(self, name: str, version: str, *, min_revision: int, timeout_s: float) -> pb.ResolveModelResponse | None:
        """Return what the registry says of one version, None if there is none. Raises grpc.RpcError."""
        request = pb.ResolveModelRequest(name=name, version=version, min_revision=min_revision)
        try:
            answer: pb.ResolveModelResponse = self._stub().ResolveModel(
                request, metadata=tracing.metadata(self._connector.metadata()), timeout=timeout_s
            )
        except grpc.RpcError as error:
            if _code(error) is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return answer

    def _run(self) -> None:
        backoff_s = _BACKOFF_FIRST_S
        while not self._stopping.is_set():
            self._wake.clear()
            names = self._next_names()
            began = time.monotonic()
            if names:
                self._attempt(names)
            if self._spoke and time.monotonic() - began > _LASTING_S:
                backoff_s = _BACKOFF_FIRST_S
            if not names:
                self._wake.wait(_REFUSED_FOR_S if self.refused else None)
            elif not self._renamed:
                self._wake.wait(jitter.between(0, backoff_s))
                backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)

    def _attempt(self, names: list[str]) -> None:
        self._spoke, self._last_message = False, time.monotonic()
        try:
            error = self._end_of_stream(names)
        except Exception as failure:  # noqa: BLE001
            # A token that cannot be had, a message that makes no sense: the next attempt may fare better.
            error = repr(failure)
        # The registry ends streams from time to time, so that callers spread: the next attempt is the judge.
        if not self._spoke and not self._is_interrupted():
            self._lost(error)

    def _end_of_stream(self, names: list[str]) -> str:
        """Follow, and return why that has ended; leave out what is refused from then on."""
        try:
            self._follow(names)
        except grpc.RpcError as failure:
            error = describe(failure)
            if _code(failure) in _REFUSALS and not self._is_interrupted():
                self._find_refused(names, error)
            return error
        return "The registry ended the stream."

    def _follow(self, names: list[str]) -> None:
        """Take in what one stream says until it ends. Raises grpc.RpcError."""
        self._current = set(names) if self._token else set()
        request = pb.WatchModelsRequest(names=names, resume_token=self._token)
        with self._lock:
            if self._is_interrupted():
                return
            call = self._call = self._stub_locked().WatchModels(request, metadata=self._connector.metadata())
        for message in call:
            self._spoke, self._last_message = True, time.monotonic()
            if not self.connected:
                self._found()
            self._take(message)
            self._token = message.resume_token or self._token
            if self._is_interrupted():
                return
            self._refresh_pins([message.model.name] if message.HasField("model") else list(self.names))

    def _take(self, message: pb.WatchModelsResponse) -> None:
        change = None
        told_all = not message.HasField("model")
        if not told_all:
            believed, change = self._knowledge.take(message.model)
            if believed:
                self._current.add(message.model.name)
            else:
                self._current.discard(message.model.name)
                _log.warning(
                    "The registry has revision %d of %r, which is behind what is known; going on with the newer one.",
                    message.model.revision, message.model.name,
                )  # fmt: skip
        # While some change there may be no message that is about none: any tells that the others are as known.
        if told_all or time.monotonic() - self._confirmed_at > _CONFIRM_INTERVAL_S:
            self._knowledge.confirm(self._current)
            self._confirmed_at = time.monotonic()
        self._heard(change)

    def _refresh_pins(self, names: list[str]) -> None:
        """Ask again for the versions known by number whose models have moved on; later, where that fails."""
        for name in names:
            model = self._knowledge.models.get(name)
            for version in model.outdated() if model else ():
                assert model
                try:
                    answer = self.ask(name, version, min_revision=model.revision, timeout_s=_PIN_TIMEOUT_S)
                except grpc.RpcError:
                    return
                self._knowledge.pin(name, version, answer)

    def _find_refused(self, names: list[str], error: str) -> None:
        """Leave out for a minute the names that the registry refuses, so that the others can be followed."""
        for name in names:
            if len(names) > 1:
                error = ""
                try:
                    self.ask(name, "1", min_revision=0, timeout_s=_PIN_TIMEOUT_S)
                except grpc.RpcError as failure:
                    error = str(_details(failure)) if _code(failure) in _REFUSALS else ""
            if error:
                self.refused = {**self.refused, name: error}
        self._token = ""
        self._refused_until = time.monotonic() + _REFUSED_FOR_S

    def _supervise(self) -> None:
        """End a stream that says nothing; and one without refused names, once they may be tried again."""
        while not self._stopping.wait(_SUPERVISION_S):
            now = time.monotonic()
            if now - self._last_message > _SILENCE_MAX_S:
                self._interrupt()
            if self.refused and now > self._refused_until:
                with self._lock:
                    self.refused = {}
                    self._renamed = True
                self._interrupt()

    def _next_names(self) -> list[str]:
        with self._lock:
            if self._renamed:
                # A token tells of the names that it was given for.
                self._renamed, self._token = False, ""
            return [name for name in self.names if name not in self.refused]

    def _is_interrupted(self) -> bool:
        return self._renamed or self._stopping.is_set()

    def _interrupt(self) -> None:
        with self._lock:
            if self._call is not None:
                self._call.cancel()
        self._wake.set()

    def _found(self) -> None:
        self.connected, self.since, self.error = True, self._clock.time(), None
        _log.info("Connected to the registry at %s.", self._connector.address)

    def _lost(self, error: str) -> None:
        if self.connected or self.since is None:
            self.connected, self.since = False, self._clock.time()
        if error != self.error:
            _log.warning("The registry at %s is away: %s", self._connector.address, error)
        self.error = error
        with self._knowledge.news:
            self.failures += 1
            self._knowledge.news.notify_all()

    def _stub(self) -> pb_grpc.LookupServiceStub:
        with self._lock:
            return self._stub_locked()

    def _stub_locked(self) -> pb_grpc.LookupServiceStub:
        if self._stopping.is_set():
            raise Unavailable(f"The watch of {self._connector.address} has been stopped.")
        if self._channel is None:
            self._channel = self._connector.channel()
        return pb_grpc.LookupServiceStub(self._channel)


def describe(error: grpc.RpcError) -> str:
    """Return what an error says, in one line."""
    return f"{getattr(_code(error), 'name', 'UNKNOWN')}: {_details(error)}"


def _code(error: grpc.RpcError) -> grpc.StatusCode | None:
    return getattr(error, "code", lambda: None)()


def _details(error: grpc.RpcError) -> str:
    return str(getattr(error, "details", lambda: error)())
