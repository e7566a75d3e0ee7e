"""A batch of what a run logs, as a client numbers it, and the rules on it that need no I/O.

`judge` is the heart of exactly-once: what a session has of a batch is decided by its newest number alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.errors import Conflict, InvalidArgument, ServiceError
from services.common.keys import check_key, check_length
from services.tracking.experiments.model import DEFAULT_EXPERIMENT_ID, check_name, parse_id
from services.tracking.metrics.columns import NO_RANK, Points, of_rank
from services.tracking.metrics.model import Series
from services.tracking.rules import KEY_LENGTH_MAX
from services.tracking.run_logs import model as logs_model
from services.tracking.run_logs.model import LogEntry
from services.tracking.run_ranks import model as ranks_model
from services.tracking.run_ranks.model import RUNNING, Move, Rank

BATCH_BYTES_MAX = 4 * 1024 * 1024
POINTS_MAX = 100_000
METRICS_MAX = 1000
PARAMS_MAX = 1000
TAGS_MAX = 1000
SEQUENCE_MAX = 2**63 - 1
EPOCH_MAX = 2**63 - 1
RUN_NAME_LENGTH_MAX = 8000
USER_ID_LENGTH_MAX = 256
# Of a rejection, which is kept until the client knows it.
MESSAGE_LENGTH_MAX = 4000

_HEX = re.compile(r"[0-9a-f]{32}")
_STATUS = {0: "FINISHED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_KNOWN_KEYS_MAX = 10_000
# What a machine measures of itself has steps of its own.
_SYSTEM_PREFIX = "system/"


@dataclass(frozen=True, slots=True)
class Session:
    """Who sends: 32 hexadecimal digits, how often the client has taken the session up, and for which rank."""

    session_id: str
    epoch: int
    rank: Rank | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What a session has: batches up to `sequence` are dealt with; `epoch` is the newest that took it up."""

    epoch: int
    sequence: int


class Verdict(Enum):
    """What a batch is to its session."""

    NEXT = "next"
    KNOWN = "known"


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A run that begins; it is in the experiment of that name, else in the one of that number."""

    experiment_id: int
    experiment_name: str
    run_name: str
    start_time: int
    takes_no_part: bool = False
    user_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """How and when a run ends, in milliseconds since the Unix epoch."""

    status: str
    end_time: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One batch. With `refusal` it can never be stored, and the rest of it means nothing.

    `caller` is who brings it, `size` its length as serialized.
    """

    session: Session
    sequence: int
    caller: str
    size: int
    entry: LogEntry
    start: Start | None = None
    end: End | None = None
    refusal: ServiceError | None = None

    @property
    def weight(self) -> int:
        """How much there is to write, in rows and points."""
        return self.entry.weight

    @property
    def moves(self) -> list[Move]:
        """How the rank that sends starts the run, and ends its part."""
        rank, run_id = self.session.rank, self.entry.run_id
        if rank is None:
            return []
        takes_part = self.start is not None and not self.start.takes_no_part
        starts = [Move(run_id=run_id, rank=rank, state=RUNNING)] if takes_part else []
        end = self.end
        ends = [Move(run_id=run_id, rank=rank, state=end.status, end_timestamp=end.end_time)] if end else []
        return starts + ends

    @property
    def newest(self) -> tuple[int, int] | None:
        """The greatest step and timestamp of the points, but for system metrics; None if there are none."""
        series = self.entry.series
        if series is None:
            return None
        steps, timestamps = series.points.steps, series.points.timestamps
        if any(key.startswith(_SYSTEM_PREFIX) for key in series.keys):
            counts = np.repeat([not key.startswith(_SYSTEM_PREFIX) for key in series.keys], series.counts)
            steps, timestamps = steps[counts], timestamps[counts]
        return (int(steps.max()), int(timestamps.max())) if len(steps) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A batch that was not stored, and never will be."""

    sequence: int
    reason: str
    message: str


class Rejected(ServiceError):
    """The batch is dealt with and nothing of it is stored."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


def rejected(sequence: int, error: ServiceError) -> Rejected:
    """Return the rejection of a batch for an error."""
    return Rejected(Rejection(sequence=sequence, reason=error.reason, message=error.message[:MESSAGE_LENGTH_MAX]))


def judge(mark: Mark, session: Session, sequence: int) -> tuple[Verdict, Mark]:
    """Return what a batch is to its session, and the session's mark when it is dealt with.

    Raises Conflict for an older epoch, and for a batch that leaves a gap.
    """
    check_epoch(mark, session)
    if sequence <= mark.sequence:
        return Verdict.KNOWN, replace(mark, epoch=session.epoch)
    if sequence > mark.sequence + 1:
        raise Conflict(
            f"Batch {sequence} of session {session.session_id} leaves a gap: {mark.sequence + 1} is expected."
        )
    return Verdict.NEXT, Mark(session.epoch, sequence)


def check_epoch(mark: Mark, session: Session) -> None:
    """Raises Conflict if somebody has taken the session up under a newer epoch."""
    if session.epoch < mark.epoch:
        raise Conflict(
            f"Session {session.session_id} was taken up under epoch {mark.epoch}; epoch {session.epoch} is over."
        )


def session(message: Any) -> Session:
    """Return the session that a message names. Raises InvalidArgument."""
    if not _HEX.fullmatch(message.session_id):
        raise InvalidArgument(
            f"Invalid value '{message.session_id[:100]}' for parameter 'session_id' supplied: 32 hexadecimal digits, "
            "in lower case, are expected."
        )
    if message.epoch > EPOCH_MAX:
        raise InvalidArgument(f"Invalid value {message.epoch} for parameter 'epoch' supplied: at most {EPOCH_MAX}.")
    return Session(message.session_id, message.epoch, _rank(message.rank) if message.HasField("rank") else None)


def decode(message: Any, sender: Session, *, caller: str) -> Batch:
    """Return the batch of a message, with a refusal if it can never be stored. Raises InvalidArgument if it has no
    number by which it could be refused.
    """
    if not 1 <= message.sequence <= SEQUENCE_MAX:
        raise InvalidArgument(
            f"Invalid value {message.sequence} for parameter 'batch.sequence' supplied: batches are numbered from 1."
        )
    size = message.ByteSize()
    batch = Batch(
        session=sender, sequence=message.sequence, caller=caller, size=size, entry=LogEntry(run_id=message.run_id)
    )
    try:
        return _checked(batch, message)
    except ServiceError as error:
        return replace(batch, refusal=error)


def _checked(batch: Batch, message: Any) -> Batch:
    if batch.size > BATCH_BYTES_MAX:
        raise InvalidArgument(f"A batch has at most {BATCH_BYTES_MAX} bytes. Got {batch.size} bytes.")
    logs_model.check_run_id(message.run_id)
    _check_count("params", PARAMS_MAX, len(message.params))
    _check_count("tags", TAGS_MAX, len(message.tags))
    _check_text("params", message.params)
    _check_text("tags", message.tags)
    params, tags = logs_model.checked_pairs(message.params, message.tags)
    has_points = message.HasField("points") and message.points.keys
    series = _series(message.points, rank=batch.session.rank) if has_points else None
    return replace(
        batch,
        entry=LogEntry(run_id=message.run_id, series=series, params=params, tags=tags, is_batch=True),
        start=_start(message.run_id, message.start, batch.caller) if message.HasField("start") else None,
        end=_end(message.end) if message.HasField("end") else None,
    )


def _rank(message: Any) -> Rank:
    return ranks_model.rank(
        Rank(
            rank=message.rank,
            world_size=message.world_size,
            node=message.node,
            local_rank=message.local_rank if message.HasField("local_rank") else None,
        )
    )


def _series(columns: Any, *, rank: Rank | None) -> Series:
    keys = list(columns.keys)
    _check_count("metrics", METRICS_MAX, len(keys))
    _check_keys(keys)
    counts = np.array(columns.counts, np.int64)
    total = int(counts.sum())
    if len(counts) != len(keys) or not counts.all():
        raise InvalidArgument(
            f"Invalid value {counts.tolist()[:20]} for parameter 'points.counts' supplied: {len(keys)} metrics need as "
            "many counts, each at least 1."
        )
    _check_count("points", POINTS_MAX, total)
    points = Points(
        timestamps=_column("timestamps", columns.timestamps, total, np.int64),
        steps=_column("steps", columns.steps, total, np.int64),
        values=_column("values", columns.values, total, np.float64),
        ranks=of_rank(rank.rank if rank else NO_RANK, total),
    )
    if points.timestamps.min() < 0:
        place = int(np.argmax(points.timestamps < 0))
        key = keys[int(np.searchsorted(np.cumsum(counts), place, side="right"))]
        raise InvalidArgument(
            f"Invalid value {points.timestamps[place]} for parameter 'points.timestamps[{place}]' supplied: metric "
            f"'{key}' (value={points.values[place]}). Timestamp must be a nonnegative long (64-bit integer) "
        )
    return Series(keys=keys, counts=counts, points=points)


def _column(name: str, packed: bytes, count: int, kind: type[Any]) -> npt.NDArray[Any]:
    if len(packed) != 8 * count:
        raise InvalidArgument(
            f"Invalid value for parameter 'points.{name}' supplied: {8 * count} bytes are expected for {count} points, "
            f"and it has {len(packed)}."
        )
    return np.frombuffer(packed, np.dtype(kind).newbyteorder("<"))


def _check_keys(keys: Sequence[str]) -> None:
    for place, key in enumerate(keys):
        if not _is_key(key):
            check_key(key, path=f"points.keys[{place}]")
            check_length(f"points.keys[{place}]", KEY_LENGTH_MAX, key)
    if len(set(keys)) < len(keys):
        repeated = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise InvalidArgument(f"Invalid value '{repeated}' for parameter 'points.keys' supplied: it is there twice.")


@lru_cache(_KNOWN_KEYS_MAX)
def _is_key(key: str) -> bool:
    """Tell whether a metric may have that name; a job names the same ones in each batch."""
    try:
        check_key(key, path="")
        check_length("", KEY_LENGTH_MAX, key)
    except InvalidArgument:
        return False
    return True


def _start(run_id: str, message: Any, caller: str) -> Start:
    if not _HEX.fullmatch(run_id):
        raise InvalidArgument(
            f"Invalid value '{run_id[:100]}' for parameter 'run_id' supplied: a run that begins is named by 32 "
            "hexadecimal digits in lower case."
        )
    names = {name: getattr(message, name) for name in ("run_name", "user_id", "experiment_name", "experiment_id")}
    _check_text("start", names)
    check_length("start.run_name", RUN_NAME_LENGTH_MAX, message.run_name)
    check_length("start.user_id", USER_ID_LENGTH_MAX, message.user_id)
    if message.experiment_name and message.experiment_id:
        raise InvalidArgument(
            f"Invalid value '{message.experiment_name[:100]}' for parameter 'start.experiment_name' supplied: "
            f"'start.experiment_id' is {message.experiment_id[:100]}, and only one of the two can be given."
        )
    if message.experiment_name:
        check_name(message.experiment_name)
    return Start(
        experiment_id=parse_id(message.experiment_id) if message.experiment_id else DEFAULT_EXPERIMENT_ID,
        experiment_name=message.experiment_name,
        run_name=message.run_name,
        start_time=message.start_time,
        takes_no_part=message.takes_no_part,
        user_id=message.user_id or caller,
    )


def _end(message: Any) -> End:
    if message.status not in _STATUS:
        raise InvalidArgument(f"Invalid value {message.status} for parameter 'end.status' supplied: it is not known.")
    return End(status=_STATUS[message.status], end_time=message.end_time)


def _check_text(where: str, texts: Mapping[str, str]) -> None:
    for key, text in texts.items():
        if "\0" in text:
            raise InvalidArgument(f"'{where}.{key}' cannot contain NUL (0x00) characters")


def _check_count(what: str, count_max: int, count: int) -> None:
    if count > count_max:
        raise InvalidArgument(f"A batch can contain at most {count_max} {what}. Got {count} {what}.")
