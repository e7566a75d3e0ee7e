"""Watching a run from a program: `watch_run`, an iterator over what the run is and what it logs, while it goes on."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from modelstead import jitter, tracing
from modelstead.runs import connection, settings
from modelstead.runs.settings import Settings
from modelstead.tracking.v1 import run_watches_pb2 as pb
from modelstead.tracking.v1 import run_watches_pb2_grpc as pb_grpc
from modelstead.tracking.v1 import runs_pb2, runs_pb2_grpc

_ENDED = ("FINISHED", "FAILED", "KILLED")
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.1, 5.0
# A server says that it is there every 15 s.
_SILENCE_S_MAX = 45.0
# What coming back does not change.
_FINAL_CODES = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)

_log = logging.getLogger("modelstead")


class WatchError(Exception):
    """The server refuses to tell of the run, or was away for too long. The text says why."""


@dataclass(frozen=True, slots=True)
class LatestPoint:
    """The latest point of a metric; times are milliseconds since the Unix epoch."""

    value: float
    step: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run is. `metrics` holds the latest point of each watched metric at this time."""

    run_id: str
    run_name: str
    status: str
    start_time: int
    end_time: int | None
    lifecycle_stage: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, LatestPoint]

    @property
    def has_ended(self) -> bool:
        """Whether the run is over."""
        return self.status in _ENDED


@dataclass(frozen=True, slots=True)
class Points:
    """New points of one metric, as lists of equal length.

    `skipped_count` more came before or among them and are not told. With `restarted`, forget what was told before.
    """

    key: str
    steps: list[int]
    timestamps: list[int]
    values: list[float]
    skipped_count: int = 0
    restarted: bool = False


class RunWatch(Iterator[RunState | Points]):
    """What a run tells; made by `watch_run`. Not to be shared by threads. `resume_token` says where it is: another one
    that is given it goes on from there.
    """

    def __init__(
        self, how: Settings, request: pb.WatchRunRequest, *, until_end: bool, away_max_s: float | None
    ) -> None:
        self._settings = how
        self._request = request
        self._until_end = until_end
        self._away_max_s = away_max_s
        self._status = ""
        self._backoff_s = _BACKOFF_S_MIN
        self._heard_at = time.monotonic()
        self._channel: grpc.Channel | None = None
        self._call: Any = None
        self._is_over = False

    @property
    def resume_token(self) -> str:
        """Where this is: after what was returned last."""
        return str(self._request.resume_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __next__(self) -> RunState | Points:
        """Return what comes next, and wait for it. Raises WatchError."""
        while not self._is_over:
            try:
                message = self._read()
            except (grpc.RpcError, connection.DiscoveryError, OSError) as error:
                self._wait_after(error)
                continue
            self._request.resume_token = message.resume_token
            if message.HasField("run"):
                state = _state(message.run)
                self._status = state.status
                return state
            if message.HasField("points"):
                return _points(message.points)
            if self._until_end and self._has_ended():
                break
        self.close()
        raise StopIteration

    def close(self) -> None:
        """End the watch."""
        self._is_over = True
        self._disconnect()

    def _read(self) -> pb.WatchRunResponse:
        """Return the next message, of a new stream if there is none. Raises RpcError, DiscoveryError, OSError."""
        if self._call is None:
            self._call = pb_grpc.RunWatchServiceStub(self._connected()).WatchRun(
                self._request, metadata=tracing.metadata(connection.metadata(self._settings))
            )
        # It may be connected, and answer pings, and have come to a stop.
        guard = threading.Timer(_SILENCE_S_MAX, self._call.cancel)
        guard.daemon = True
        guard.start()
        try:
            message: pb.WatchRunResponse | None = next(self._call, None)
        finally:
            guard.cancel()
        if message is None:
            raise ConnectionError("the stream has ended")
        self._backoff_s, self._heard_at = _BACKOFF_S_MIN, time.monotonic()
        return message

    def _connected(self) -> grpc.Channel:
        if self._channel is None:
            self._channel = connection.channel(connection.resolve(self._settings), self._settings)
        return self._channel

    def _disconnect(self) -> None:
        call, channel, self._call, self._channel = self._call, self._channel, None, None
        if call is not None:
            call.cancel()
        if channel is not None:
            channel.close()

    def _has_ended(self) -> bool:
        """Whether the run is over; who resumed with a token may not have been told."""
        if not self._status:
            request = runs_pb2.GetRunRequest(run_id=self._request.run_id)
            stub = runs_pb2_grpc.RunServiceStub(self._connected())
            try:
                answer = stub.GetRun(request, metadata=connection.metadata(self._settings), timeout=10)
            except grpc.RpcError:
                # The next message that all is told asks again.
                return False
            self._status = runs_pb2.RunInfo.Status.Name(answer.run.info.status)
        return self._status in _ENDED

    def _wait_after(self, error: Exception) -> None:
        """Wait before the next attempt. Raises WatchError if there is to be none."""
        self._disconnect()
        text, delay_s = str(error), None
        if isinstance(error, grpc.RpcError):
            failure = connection.failure(error)
            text, delay_s = f"{failure.code.name}: {failure.message}", failure.retry_after_s
            if failure.code in _FINAL_CODES:
                self._is_over = True
                raise WatchError(f"run {self._request.run_id} cannot be watched: {text}") from error
        away_s = time.monotonic() - self._heard_at
        if self._away_max_s is not None and away_s > self._away_max_s:
            self._is_over = True
            raise WatchError(f"tracking has been away for {away_s:.0f} s: {text}") from error
        _log.debug("run %s: the watch is resumed: %s", self._request.run_id, text)
        # So that not all come back at once.
        time.sleep(min(delay_s or self._backoff_s, _BACKOFF_S_MAX) * jitter.between(0.5, 1))
        self._backoff_s = min(2 * self._backoff_s, _BACKOFF_S_MAX)


def watch_run(
    run_id: str,
    keys: Iterable[str] = (),
    *,
    address: str | None = None,
    every_point: bool = False,
    until_end: bool = True,
    away_max_s: float | None = None,
    resume_token: str = "",
    **how: Any,
) -> RunWatch:
    """Return an iterator over a run's state and new points, which comes back by itself when a server goes away.

    keys: the metrics, at most 250; absent: all, but no more than the 250 that were logged first. every_point: begin
    with every point, rather than with an even sample of at most 320 of each metric, and leave out none, however far
    behind. until_end: stop when the run is over and all is told; else go on. away_max_s: raise WatchError when no
    server has been heard for so long; absent: never. resume_token: go on from where another watch was. address, how:
    as `start_run`.
    Raises SettingsError; WatchError while it is read. docs/watching-runs.md tells what is promised.
    """
    request = pb.WatchRunRequest(
        run_id=run_id, metric_keys=list(keys), every_point=every_point, resume_token=resume_token
    )
    return RunWatch(settings.load(address=address, **how), request, until_end=until_end, away_max_s=away_max_s)


def _state(run: pb.WatchedRun) -> RunState:
    latest = zip(run.metrics.key, run.metrics.value, run.metrics.step, run.metrics.timestamp, strict=True)
    return RunState(
        run_id=run.run_id,
        run_name=run.run_name,
        status=runs_pb2.RunInfo.Status.Name(run.status),
        start_time=run.start_time,
        end_time=run.end_time if run.HasField("end_time") else None,
        lifecycle_stage=run.lifecycle_stage,
        params=dict(run.params),
        tags=dict(run.tags),
        metrics={key: LatestPoint(value, step, timestamp) for key, value, step, timestamp in latest},
    )


def _points(points: pb.WatchedPoints) -> Points:
    return Points(
        key=points.key,
        steps=list(points.steps),
        timestamps=list(points.timestamps),
        values=list(points.values),
        skipped_count=points.skipped_count,
        restarted=points.restarted,
    )
