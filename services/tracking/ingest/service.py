"""What takes in batches: a group of them, and the numbers of the newest ones of their sessions, is one transaction."""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.common import tracing
from services.common.database import Database, Driver
from services.common.errors import InvalidArgument, ServiceError
from services.common.group_commit import GroupCommit, Outcome
from services.tracking.experiments.model import Experiment
from services.tracking.experiments.service import Experiments
from services.tracking.ingest import model, refusals, store
from services.tracking.ingest.backlogs import Backlog, Backlogs
from services.tracking.ingest.flow import Budget, Flow
from services.tracking.ingest.group import Group
from services.tracking.ingest.known_runs import KnownRuns, Runs
from services.tracking.ingest.model import Batch, Rejected, Rejection, Session, Start
from services.tracking.ingest.openings import Openings
from services.tracking.metrics import store as metrics_store
from services.tracking.rules import Tell, tell_nobody
from services.tracking.run_logs.meter import Meter
from services.tracking.run_logs.model import RUN_NAME_TAG
from services.tracking.run_logs.service import store_entries
from services.tracking.run_ranks import model as ranks_model
from services.tracking.run_ranks import service as run_ranks
from services.tracking.run_ranks.service import RunRanks
from services.tracking.runs import model as runs_model
from services.tracking.runs import store as runs_store
from services.tracking.runs.model import Run

# At a million points a second, a tenth of a second's.
GROUP_WEIGHT_MAX = 100_000
# Of several batches in one request: far less than a window, so that the next one is on its way while one is stored.
REQUEST_BYTES_MAX = 256 * 1024
BATCHES_A_REQUEST_MAX = 256
# A heartbeat names many runs, and a request has many batches: not each of them is heard of with each.
HEARD_EVERY_MS = 1000
REJECTIONS_A_RESPONSE = 500
SESSIONS_A_PURGE = 1000
PURGES_A_CALL = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What is told to a client; see modelstead.tracking.v1.IngestStreamResponse."""

    acknowledged_sequence: int
    rejections: list[Rejection] = field(default_factory=list)
    window_bytes: int | None = None
    pause_s: float = 0.0
    heartbeat_period_s: float = 0.0
    request_bytes_max: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is told of one batch."""

    acknowledged_sequence: int
    rejection: Rejection | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is going on at this process."""

    stream_count: int
    session_count: int
    bytes_under_way: int
    bytes_under_way_max: int
    waiting_count: int
    backlog: Backlog


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stream:
    """A stream's session, who sends, and, if runs are awaited that are not there, those that are."""

    sender: Session
    caller: str
    known_runs: KnownRuns | None


class Ingest:
    """The use-cases. Batches that arrive together, or while others are being committed, share a transaction.

    `memory_bytes` bounds the batches under way of all callers, `window_bytes` those of one stream. A session that has
    been quiet for `session_age_s` can be forgotten. `now_ms` returns milliseconds since the Unix epoch. `tell` is told
    the runs after each transaction.
    """

    def __init__(
        self,
        db: Database,
        experiments: Experiments,
        ranks: RunRanks,
        *,
        now_ms: Callable[[], int],
        memory_bytes: int,
        window_bytes: int,
        session_age_s: int,
        meter: Meter | None = None,
        tell: Tell = tell_nobody,
    ) -> None:
        self._db = db
        self._tell = tell
        self._session_age_s = session_age_s
        self._experiments = experiments
        self._ranks = ranks
        self._now_ms = now_ms
        self._window_bytes = window_bytes
        self._budget = Budget(memory_bytes)
        self._meter = meter or Meter()
        self._streams_of: Counter[str] = Counter()
        self._backlogs = Backlogs()
        self._runs = Runs(db)
        self._openings = Openings(db, now_ms=now_ms)
        self._group_commit = GroupCommit(
            self._commit,
            weight=lambda batch: batch.weight,
            group_weight_max=GROUP_WEIGHT_MAX,
            # The budget bounds what waits, in bytes.
            waiting_weight_max=sys.maxsize,
            committers=1,
            lane=lambda batch: (batch.caller, batch.session.session_id),
            what="ingest",
        )

    def expect(self) -> contextlib.ExitStack:
        """Keep room, until the block that is returned ends, for a batch that is about to be read. Raises
        ResourceExhausted.
        """
        with refusals.counted():
            return self._budget.expect()

    async def one(self, sender: Any, message: Any, *, caller: str) -> Answer:
        """Store one batch. Raises InvalidArgument, Conflict, ResourceExhausted."""
        batch = model.decode(message, model.session(sender), caller=caller)
        with refusals.counted():
            self._budget.take(batch.size)
        try:
            await self._group_commit.submit(batch)
        except Rejected as error:
            return Answer(acknowledged_sequence=batch.sequence, rejection=error.rejection)
        finally:
            self._budget.give_back(batch.size)
        return Answer(acknowledged_sequence=batch.sequence)

    async def stream(self, opening: Any, following: AsyncIterator[Any], *, caller: str) -> AsyncIterator[Progress]:
        """Open a session and store the batches that follow, telling what is dealt with as it is committed.

        Raises InvalidArgument, Conflict, ResourceExhausted; NotFound for a run that is not there, if that is awaited.
        """
        if not opening.HasField("open"):
            raise InvalidArgument("Missing value for required parameter 'open': the first request opens the session.")
        sender = model.session(opening.open)
        known_runs = KnownRuns(self._runs) if opening.awaits_runs else None
        stream = _Stream(sender=sender, caller=caller, known_runs=known_runs)
        # Nothing is begun that would only wait.
        self._budget.take(0)
        with self._counted(sender):
            async for progress in self._open(sender, opening.acknowledged_sequence):
                yield progress
            async for progress in self._take_in(stream, following):
                yield progress

    async def _take_in(self, stream: _Stream, following: AsyncIterator[Any]) -> AsyncIterator[Progress]:
        flow = Flow(self._budget, window_bytes=self._window_bytes)
        reading = asyncio.create_task(self._read(flow, stream, following))
        try:
            while (settled := await flow.settled()) is not None:
                newest, rejections = settled
                yield Progress(acknowledged_sequence=newest, rejections=rejections, pause_s=self._budget.pause_s)
            await reading
        finally:
            reading.cancel()
            flow.drop()
            with contextlib.suppress(asyncio.CancelledError, ServiceError):
                await reading

    async def purge(self) -> int:
        """Forget sessions that have been quiet for too long, or a bounded part of them, with their rejections.

        Returns how many.
        """
        total = 0
        for _ in range(PURGES_A_CALL):
            async with self._db.pipeline() as tx:
                count = await store.purge(
                    tx, active_before=self._now_ms() - self._session_age_s * 1000, limit=SESSIONS_A_PURGE
                )
            total += count
            if count < SESSIONS_A_PURGE:
                break
        return total

    def load(self) -> Load:
        """Return what is going on now."""
        return Load(
            stream_count=self._streams_of.total(),
            session_count=len(self._streams_of),
            bytes_under_way=self._budget.taken_bytes,
            bytes_under_way_max=self._budget.bytes_max,
            waiting_count=self._group_commit.waiting_count,
            backlog=self._backlogs.all(),
        )

    @contextlib.contextmanager
    def _counted(self, sender: Session) -> Iterator[None]:
        self._streams_of[sender.session_id] += 1
        try:
            yield
        finally:
            self._streams_of[sender.session_id] -= 1
            if not self._streams_of[sender.session_id]:
                del self._streams_of[sender.session_id]
                self._backlogs.forget(sender.session_id)

    async def _open(self, sender: Session, acknowledged: int) -> AsyncIterator[Progress]:
        if acknowledged > model.SEQUENCE_MAX:
            raise InvalidArgument(
                f"Invalid value {acknowledged} for parameter 'acknowledged_sequence' supplied: at most "
                f"{model.SEQUENCE_MAX}."
            )
        opening = await self._openings.open(sender, acknowledged)
        rejections = await self._rejections_after(sender, acknowledged) if opening.has_rejections else []
        yield Progress(
            acknowledged_sequence=opening.sequence,
            rejections=rejections,
            window_bytes=self._window_bytes,
            heartbeat_period_s=ranks_model.HEARTBEAT_S if sender.rank else 0.0,
            request_bytes_max=REQUEST_BYTES_MAX,
        )
        while len(rejections) == REJECTIONS_A_RESPONSE:
            rejections = await self._rejections_after(sender, rejections[-1].sequence)
            yield Progress(acknowledged_sequence=opening.sequence, rejections=rejections)

    async def _rejections_after(self, sender: Session, sequence: int) -> list[Rejection]:
        async with self._db.pipeline(snapshot=True) as tx:
            return await store.rejections_after(tx, sender.session_id, sequence, limit=REJECTIONS_A_RESPONSE)

    async def _read(self, flow: Flow, stream: _Stream, following: AsyncIterator[Any]) -> None:
        sender = stream.sender
        # Once a rank says that it lives, so does what it brings: heartbeats may be behind what there is no room for.
        run_ids: Sequence[str] = ()
        heard_ms = 0
        try:
            async for message in following:
                if message.HasField("backlog"):
                    self._backlogs.told(sender.session_id, message.backlog)
                if message.HasField("heartbeat"):
                    run_ids, heard_ms = list(message.heartbeat.run_ids), self._now_ms()
                    self._ranks.heard(sender.rank, run_ids)
                    continue
                if message.HasField("open") or not message.HasField("batch"):
                    raise InvalidArgument("Missing value for required parameter 'batch': a session is opened once.")
                for batch in _batches(message):
                    await self._take(flow, batch, stream)
                    if batch.HasField("end"):
                        # It lives on, but not in that one; other batches may come before a heartbeat says so.
                        run_ids = [run_id for run_id in run_ids if run_id != batch.run_id]
                    now_ms = self._now_ms()
                    if run_ids and abs(now_ms - heard_ms) >= HEARD_EVERY_MS:
                        heard_ms = now_ms
                        self._ranks.heard(sender.rank, run_ids)
        finally:
            flow.end()

    async def _take(self, flow: Flow, message: Any, stream: _Stream) -> None:
        """Have a batch of a stream committed in its turn; its span lasts until then."""
        came_s = time.perf_counter()
        span = tracing.begin_batch("IngestStream batch", message.trace_parent)
        try:
            batch = model.decode(message, stream.sender, caller=stream.caller)
            if stream.known_runs is not None:
                await stream.known_runs.check(batch)
            with refusals.counted():
                await flow.make_room(batch.size)
            with tracing.within(span):
                done = self._group_commit.enqueue(batch, came_s=came_s)
        except BaseException:
            if span is not None:
                span.end()
            raise
        if span is not None:
            done.add_done_callback(lambda _: span.end())
        flow.add(batch.sequence, batch.size, done)

    async def _commit(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        async with self._db.pipeline() as tx:
            now_ms = self._now_ms()
            known = await store.lock(tx, {batch.session.session_id for batch in batches}, now_ms=now_ms)
            group = Group(batches, known)
            await self._start_runs(tx, group)
            await _store(tx, group, now_ms=now_ms)
            await store.advance(tx, group.marks, now_ms=now_ms)
            if group.rejected:
                await store.add_rejections(tx, group.rejected)
            # Last: what they repeat may be in this group.
            await self._tell_again(tx, group)
        group.count_refused()
        self._meter.note(batches[place].entry for place in group.waiting())
        self._tell(batch.entry.run_id for batch in batches)
        for rank, run_id, (step, timestamp) in group.logged():
            self._ranks.logged(rank, run_id, step=step, timestamp=timestamp)
        return [group.outcomes.get(place) for place in range(len(batches))]

    async def _tell_again(self, tx: Driver, group: Group) -> None:
        """Have what repeats batches that were rejected be rejected as they were."""
        if not group.repeated:
            return
        found = await store.rejections_of(tx, [group.name(place) for place in group.repeated])
        for place in group.repeated:
            if rejection := found.get(group.name(place)):
                group.outcomes[place] = Rejected(rejection)

    async def _start_runs(self, tx: Driver, group: Group) -> None:
        starting = [(place, start) for place in group.waiting() if (start := group.batches[place].start)]
        target_of = await self._targets(tx, {(start.experiment_name, start.experiment_id) for _, start in starting})
        # As everything that others may bring at the same time, in an order.
        for place, start in sorted(starting, key=lambda each: group.batches[each[0]].entry.run_id):
            target = target_of[start.experiment_name, start.experiment_id]
            try:
                if isinstance(target, ServiceError):
                    raise target
                run = _new_run(group.batches[place], start, target)
            except ServiceError as error:
                group.reject(place, error)
                continue
            await runs_store.add(tx, run.info, run.data.tags)

    async def _targets(
        self, tx: Driver, names: Iterable[tuple[str, int]]
    ) -> dict[tuple[str, int], Experiment | ServiceError]:
        """Return experiments by name and number, or why nothing can begin in them."""
        found: dict[tuple[str, int], Experiment | ServiceError] = {}
        for name, number in sorted(names):
            try:
                found[name, number] = await self._experiments.target(tx, number, name=name)
            except ServiceError as error:
                found[name, number] = error
        return found


def _batches(message: Any) -> Sequence[Any]:
    """Return the batches of a request. Raises InvalidArgument for more than are decoded in one turn of the loop."""
    batches = [message.batch, *message.more_batches]
    if len(batches) > BATCHES_A_REQUEST_MAX:
        raise InvalidArgument(
            f"Invalid value for parameter 'more_batches' supplied: a request has at most {BATCHES_A_REQUEST_MAX} "
            f"batches. Got {len(batches)}."
        )
    if len(batches) > 1 and (size := sum(batch.ByteSize() for batch in batches)) > REQUEST_BYTES_MAX:
        raise InvalidArgument(
            f"Invalid value for parameter 'more_batches' supplied: several batches have at most {REQUEST_BYTES_MAX} "
            f"bytes together. Got {size} bytes."
        )
    return batches


def _new_run(batch: Batch, start: Start, experiment: Experiment) -> Run:
    """Raises InvalidArgument."""
    return runs_model.new_run(
        run_id=batch.entry.run_id,
        experiment_id=experiment.experiment_id,
        artifact_location=experiment.artifact_location,
        user_id=start.user_id,
        run_name=start.run_name,
        start_time=start.start_time,
        tags={key: value for key, value in batch.entry.tags.items() if key == RUN_NAME_TAG},
    )


async def _store(tx: Driver, group: Group, *, now_ms: int) -> None:
    places = group.waiting()
    if not places:
        return
    outcomes = await store_entries(tx, [group.batches[place].entry for place in places])
    for place, outcome in zip(places, outcomes, strict=True):
        if outcome is not None:
            group.reject(place, outcome)
    stored = [group.batches[place] for place in group.waiting()]
    if moves := [move for batch in stored for move in batch.moves]:
        await run_ranks.move(tx, moves, now=now_ms)
    ends = {batch.entry.run_id: batch.end for batch in stored if batch.end and batch.session.rank is None}
    if ends:
        await store.end_runs(tx, ends)
        await metrics_store.enqueue_ended(tx, ends)
