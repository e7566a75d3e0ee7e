"""Logging from training: `start_run` and `Run`. Nothing here waits for a disk or a server, unless it is asked to."""

import getpass
import logging
import multiprocessing
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from modelstead import tracing
from modelstead.runs import checks, launch, settings, system_metrics
from modelstead.runs.batches import Control
from modelstead.runs.process import CURRENT
from modelstead.runs.settings import Settings, SettingsError
from modelstead.runs.system_metrics import SystemMetrics
from modelstead.spool.writer import SpoolFull
from modelstead.tracking.v1 import ingest_pb2 as pb

_STATUSES = {
    "FINISHED": pb.EndRun.FINISHED,
    "FAILED": pb.EndRun.FAILED,
    "KILLED": pb.EndRun.KILLED,
}

_log = logging.getLogger("modelstead")


class Run:
    """A run that is logged to. Made by `start_run`; may be used from any thread, and in any forked or spawned process.

    What the server refuses, or cannot be told now, never raises here. A mistake of the caller's, such as a name that
    cannot be one, raises TypeError or ValueError if the run is `strict`; else it is told once in the log, and what it
    is about is not logged.
    """

    def __init__(self, how: Settings, run_id: str, *, strict: bool = False) -> None:
        self.run_id = run_id
        self._settings = how
        self._strict = strict
        self._recorder = CURRENT.recorder(how)
        self._known: set[str] = set()
        self._told: set[str] = set()
        self._has_ended = False
        self._sampler: SystemMetrics | None = None

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[Any, ...]]:
        start = self._recorder.start_of(self.run_id)
        return _joined, (self._settings, self.run_id, self._strict, start and start.SerializeToString())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end("FINISHED")
        else:
            self.end("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def log(self, metrics: Mapping[str, float], step: int | None = None, timestamp: int | None = None) -> None:
        """Log one value of each metric.

        step: any whole number of 64 bits; absent: 0, as in MLflow. timestamp: milliseconds since the Unix epoch;
        absent: now. When this returns, the values are in memory; 20 ms later on the disk, which docs/ tells more of.
        """
        recorder = self._recorder
        try:
            values = tuple(metrics.values())
        except (AttributeError, TypeError, RuntimeError) as error:
            self._mistake(
                TypeError(f"metrics are {type(metrics).__name__} and not a mapping that can be read: {error}")
            )
            return
        if step is None:
            step = 0
        if timestamp is None:
            timestamp = time.time_ns() // 1_000_000
        if (
            step.__class__ is not int
            or not checks.INT64_MIN <= step <= checks.INT64_MAX
            or timestamp.__class__ is not int
            or not 0 <= timestamp <= checks.INT64_MAX
            or not self._known.issuperset(metrics)
            or not {float}.issuperset(map(type, values))
        ):
            self._log_checked(metrics, step, timestamp)
            return
        if recorder.is_full:
            raise SpoolFull("the spool has no room for what is logged, and on_full is `raise`")
        recorder.buffered_points += len(values)
        if recorder.buffered_points > recorder.settings.buffer_points_max:
            recorder.dropped_points += len(values)
            return
        trace_parent = tracing.trace_parent()
        recorder.buffer.append((self.run_id, step, timestamp, tuple(metrics), values, trace_parent))
        if not recorder.is_awake:
            recorder.wake()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, as text. Another value for one that the run has is refused by the server."""
        self._control(lambda: {"params": checks.texts("param", params, length_max=checks.PARAM_VALUE_LENGTH_MAX)})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags, as text, over older values."""
        self._control(lambda: {"tags": checks.texts("tag", tags, length_max=checks.TAG_VALUE_LENGTH_MAX)})

    def end(self, status: str = "FINISHED", end_time: int | None = None) -> None:
        """End the run, as FINISHED, FAILED or KILLED; the first end counts. Does not wait: see `flush`. A rank ends its
        own part only: the run ends with the last of them.

        end_time: milliseconds since the Unix epoch; absent: now.
        """
        if self._has_ended:
            return
        if status not in _STATUSES:
            raise ValueError(f"status {status!r} is not one of {', '.join(_STATUSES)}")
        self._has_ended = True
        if self._sampler:
            self._sampler.stop()
        CURRENT.disown(self)
        self._recorder.ends(self.run_id)
        ended = time.time_ns() // 1_000_000 if end_time is None else end_time
        self._control(lambda: {"end": pb.EndRun(status=_STATUSES[status], end_time=ended)})

    def flush(self, timeout_s: float = 30.0, *, acknowledged: bool = True) -> bool:
        """Wait until the server has acknowledged everything that this process logged before; without `acknowledged`
        only until it is on the disk. Returns whether it is so.
        """
        return self._recorder.flush(timeout_s, acknowledged=acknowledged)

    @property
    def rank(self) -> int | None:
        """Which process of a distributed job logs here; None if it is not part of one."""
        return self._settings.rank

    def begin(self, start: pb.StartRun) -> None:
        """Begin the run at the server; this process ends it."""
        self._recorder.begins(self.run_id, start)
        self._recorder.stands_for_rank = self._can_stand_for_rank()
        self._control(lambda: {"start": start})
        CURRENT.own(self)

    def follow(self, start: pb.StartRun) -> None:
        """Log to a run that another process begins so, whichever of the two the server hears of first."""
        self._recorder.follows(self.run_id, start)

    def take_part(self) -> None:
        """See to it that a rank ends its part when its process ends. A process that only helps a rank has none."""
        if self._can_stand_for_rank():
            self._recorder.stands_for_rank = True
            CURRENT.own(self)

    def _can_stand_for_rank(self) -> bool:
        # Daemons of multiprocessing, as data loaders' workers are, outlive a rank that is killed.
        return self.rank is not None and not multiprocessing.current_process().daemon

    def leave(self) -> None:
        """Do not end the run when the process ends."""
        CURRENT.disown(self)

    def sample(self) -> None:
        """Log what the machine does until the run ends, unless another process of this node does."""
        prefix = system_metrics.prefix(self._settings)
        if prefix is not None and self._sampler is None:
            interval_s = self._settings.system_metrics_interval_s
            self._sampler = SystemMetrics(self.log, prefix=prefix, interval_s=interval_s)
            self._sampler.start()

    def _log_checked(self, metrics: Any, step: Any, timestamp: Any) -> None:
        """Log what is not the usual, number by number."""
        found: dict[str, float] = {}
        try:
            step = checks.whole_number("step", step)
            timestamp = checks.whole_number("timestamp", timestamp, minimum=0)
        except (TypeError, ValueError) as error:
            self._mistake(error)
            return
        for key, value in metrics.items():
            try:
                if key not in self._known:
                    checks.check_key("metric", key)
                    self._known.add(key)
                found[key] = checks.number(key, value)
            except (TypeError, ValueError) as error:
                self._mistake(error)
        if found:
            self.log(found, step, timestamp)

    def _control(self, content: Callable[[], dict[str, Any]]) -> None:
        try:
            control = Control(self.run_id, **content(), trace_parent=tracing.trace_parent())
        except (TypeError, ValueError) as error:
            self._mistake(error)
            return
        self._recorder.buffer.append(control)
        if not self._recorder.is_awake:
            self._recorder.wake()

    def _mistake(self, error: Exception) -> None:
        if self._strict:
            raise error
        text = str(error)
        if text not in self._told and len(self._told) < 1000:
            self._told.add(text)
            _log.error("run %s: %s; it is not logged", self.run_id, text)


def start_run(
    address: str | None = None,
    *,
    experiment: str | None = None,
    run_name: str | None = None,
    tags: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    launch_id: str | None = None,
    strict: bool = False,
    **how: Any,
) -> Run:
    """Begin a run and return it at once, whether or not the server can be reached; its `run_id` is final.

    address: `host:port` of tracking, or `modelstead://host:port` of a gateway; absent: `MODELSTEAD_ADDRESS`.
    experiment: its name; it is made if there is none. run_id: log to this run, which somebody else begins and ends.
    launch_id: who begins a run of the same launch in the same experiment begins the same run.
    how: any other field of `modelstead.runs.settings.Settings`. Raises SettingsError.
    """
    if run_id and launch_id:
        raise SettingsError(f"launch_id={launch_id!r} and run_id={run_id!r} both name the run; only one of them can")
    found = settings.load(address=address, launch_id=launch_id, **how)
    run = Run(found, run_id or _new_run_id(found, experiment or "", launch_id), strict=strict)
    if run_id is None:
        run.begin(start_message(experiment_name=experiment, run_name=run_name))
    else:
        run.take_part()
    if params:
        run.log_params(params)
    if tags:
        run.set_tags(tags)
    if found.system_metrics:
        run.sample()
    return run


def start_message(**fields: Any) -> pb.StartRun:
    """Return what begins a run now."""
    return pb.StartRun(start_time=time.time_ns() // 1_000_000, user_id=_user(), **fields)


def _new_run_id(how: Settings, experiment: str, launch_id: str | None) -> str:
    if launch_id:
        return launch.run_id(launch_id, experiment=experiment, number=0)
    if how.launch_id:
        # It is that of the whole process, which may begin several runs.
        return CURRENT.launched(how.launch_id, experiment=experiment)
    return uuid.uuid4().hex


def _joined(how: Settings, run_id: str, strict: bool, start: bytes | None) -> Run:
    run = Run(how, run_id, strict=strict)
    if start is not None:
        run.follow(pb.StartRun.FromString(start))
    return run


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
