"""What stands between `log` and the disk: a buffer in memory, and a thread that empties it into the spool.

One recorder a process and target. It makes its threads and its session when there is something to record, and anew in
a forked child, whose session is its own.
"""

import contextlib
import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path

from modelstead.runs import batches
from modelstead.runs.backlog import Backlog
from modelstead.runs.batches import Batch, Control, Row
from modelstead.runs.outbox import Unsent
from modelstead.runs.sender import Sender
from modelstead.runs.settings import Settings, fallback_spool_dir
from modelstead.spool import sessions
from modelstead.spool.sessions import Info, Session
from modelstead.spool.writer import Durability, OnFull, SpoolFull, Writer
from modelstead.tracking.v1 import ingest_pb2 as pb

# How long nothing is logged until the thread sleeps, to be woken by the next call, which takes that call longer.
IDLE_S = 0.1
RETRY_S = 1.0
# So much is not held back to be sent with more, nor so much that the spool could run full of it.
HELD_BYTES_MAX = 256 * 1024
WAITING_BATCHES_MAX = 10_000
# Of the buffer are turned into batches at a time: between two of these steps the training loop gets its turn.
ITEMS_A_ROUND = 1000

_log = logging.getLogger("modelstead")


class Recorder:
    """`buffer` takes rows and controls from any thread; whoever adds one calls `wake` unless `is_awake`."""

    def __init__(self, settings: Settings, *, on_start: Callable[[], None]) -> None:
        self.settings = settings
        self._on_start = on_start
        self.buffer: deque[Row | Control] = deque()
        # About how many points the buffer has: without a lock, and right again each time it is emptied.
        self.buffered_points = 0
        self.dropped_points = 0
        self.dropped_batches = 0
        self.is_awake = False
        # The spool is full, and that is to be an error.
        self.is_full = False
        # The session of an ancestor whose threads send what this process records, as gRPC cannot be used in a child
        # that was forked after it was.
        self.sent_by: str | None = None
        # This process is a rank of its job: it begins runs, or takes part in them. A child that is given a run only
        # helps, and may log when the rank has ended.
        self.stands_for_rank = False
        # How runs begin that are under way. A forked child logs to them too, and its session may be there first.
        self._starts: dict[str, pb.StartRun] = {}
        self._reset()

    def _reset(self) -> None:
        # The first is held for no longer than it takes to start a thread, the second while the disk is written.
        self._starting = threading.RLock()
        self._lock = threading.RLock()
        # Not an event, whose lock SIGTERM's handler could find taken by the thread that it interrupts.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._emptied = threading.Condition()
        self._rounds_asked = self._rounds_done = 0
        # Something is out of the buffer that may not be on the disk yet.
        self._is_recording = False
        self._thread: threading.Thread | None = None
        self._session: Session | None = None
        self._writer: Writer | None = None
        self._sender: Sender | None = None
        self._backlog = Backlog()
        self._waiting: deque[Batch] = deque()
        # Of what was written, about how much may be held back yet.
        self._held_bytes = 0
        # Something was written that is not to wait until the interval of points is over.
        self._has_controls = False
        # The runs that this process's session begins, or makes for what it logs.
        self._begun: set[str] = set()
        self._next_try = 0.0
        self._synced = 0.0
        self._told_dropped = 0
        self._told_troubles: set[tuple[bool, int | None]] = set()
        self._full_until = 0.0

    @property
    def session_id(self) -> str | None:
        return self._session.info.session_id if self._session else None

    @property
    def is_used(self) -> bool:
        """Whether this process has recorded anything."""
        return self._thread is not None or bool(self.buffer)

    @property
    def has_sender(self) -> bool:
        return self._sender is not None

    def after_fork_in_child(self) -> "Sender | None":
        """Begin as new: what the buffer has is the parent's, and so is its session. Returns what must be kept from
        being collected, as gRPC's objects of the parent must not be touched.
        """
        abandoned = self._sender
        if self._session:
            self._session.close()
        self.buffer.clear()
        self.buffered_points = self.dropped_points = self.dropped_batches = 0
        self.is_awake = self.is_full = self.stands_for_rank = False
        self._reset()
        return abandoned

    def begins(self, run_id: str, start: pb.StartRun) -> None:
        """Know how a run begins, which this process is about to say itself."""
        self._begun.add(run_id)
        self.follows(run_id, start)

    def follows(self, run_id: str, start: pb.StartRun) -> None:
        """Know how a run begins that another process has begun, or is about to."""
        known = self._starts[run_id] = pb.StartRun()
        known.CopyFrom(start)
        known.takes_no_part = True

    def start_of(self, run_id: str) -> pb.StartRun | None:
        """Return how a run that is under way began, for processes that log to it as well; None if nobody said so."""
        return self._starts.get(run_id)

    def ends(self, run_id: str) -> None:
        """Forget how a run began."""
        self._starts.pop(run_id, None)

    def wake(self) -> None:
        """See to it that what was added is recorded."""
        with self._starting:
            self.is_awake = True
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="modelstead-recorder", daemon=True)
                try:
                    self._on_start()
                    self._thread.start()
                except RuntimeError:
                    # No thread can be made, now or any more: the interpreter may be ending. The next call tries again.
                    self._thread = None
                    self.is_awake = False
                    self._empty()
        self._wake.put(None)

    def flush(self, timeout_s: float, *, acknowledged: bool = True) -> bool:
        """Wait until everything added before is on the disk and, with `acknowledged`, at the server. Returns whether it
        is.
        """
        deadline = time.monotonic() + timeout_s
        with self._emptied:
            self._rounds_asked += 1
            asked = self._rounds_asked
        self.wake()
        with self._emptied:
            done = self._thread is None or self._emptied.wait_for(lambda: self._rounds_done >= asked, timeout_s)
        if not done or self._waiting or not acknowledged:
            return done and not self._waiting
        last = self._writer.last_sequence if self._writer else 0
        if self._sender is not None:
            return self._sender.wait_for(last, max(0.0, deadline - time.monotonic()))
        return self._is_sent_elsewhere(last, deadline)

    def has_unsent(self) -> bool:
        """Whether anything was added that the server has not acknowledged. Costs nothing where there is nothing."""
        # In the order in which it goes from one to the next, so that it cannot slip by.
        return bool(self.buffer) or self._is_recording or self.unsent() is not None

    def unsent(self) -> Unsent | None:
        """Return what is not acknowledged; None if everything is."""
        if self._writer is None or self._session is None:
            return Unsent(batches=len(self._waiting), path="memory", trouble="no disk") if self._waiting else None
        acknowledged = self._sender.acknowledged_sequence if self._sender else self._session.acknowledged()
        count = self._writer.last_sequence - acknowledged + len(self._waiting)
        trouble = self._sender.trouble if self._sender else ""
        return Unsent(batches=count, path=str(self._session.path), trouble=trouble) if count else None

    def sync(self) -> None:
        """Make durable what is on the disk, unless that is never wanted."""
        with self._lock, contextlib.suppress(OSError):
            if self._writer and self.settings.durability is not Durability.NEVER:
                self._writer.sync()

    def close(self) -> None:
        """Forget a session of which everything is acknowledged, and remove it. What is logged later begins another."""
        with self._lock:
            session, sender = self._session, self._sender
            if session is None or sender is None or self.buffer or self.unsent():
                return
            sender.stop()
            session.delete()
            self._session = self._writer = self._sender = None

    def _run(self) -> None:
        last_work = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=self._pause_s())
                while True:
                    self._wake.get_nowait()
            with self._emptied:
                asked = self._rounds_asked
            if self._empty():
                last_work = time.monotonic()
            elif time.monotonic() - last_work > IDLE_S and not self._waiting and not self.is_full:
                self.is_awake = False
                # Whoever added something before that line has not woken this thread.
                self.is_awake = bool(self.buffer)
            with self._emptied:
                self._rounds_done = asked
                self._emptied.notify_all()

    def _pause_s(self) -> float | None:
        """Return how long to wait for a call of `wake`; None if there is nothing to do until then."""
        if self.is_awake or self._waiting or self.is_full:
            return self.settings.flush_interval_s
        return None if self._is_synced() else max(0.0, self._synced + self.settings.fsync_interval_s - time.monotonic())

    def _empty(self) -> bool:
        """Record what the buffer has now. Returns whether it had anything."""
        with self._lock:
            # As many as there are: others go on adding, and nobody else takes.
            count = len(self.buffer)
            self._is_recording = count > 0
            try:
                self._record_first(count)
            finally:
                self._is_recording = False
            self._tell_dropped()
            return bool(count)

    def _record_first(self, left: int) -> None:
        # Now and then one is let through, to see whether there is room again.
        self.is_full = self.is_full and time.monotonic() < self._full_until
        while True:
            items = [self.buffer.popleft() for _ in range(min(left, ITEMS_A_ROUND))]
            left -= len(items)
            self._count_out(items)
            try:
                self._record(batches.of([*self._beginnings(items), *items]))
            except Exception:  # noqa: BLE001 - the boundary of a thread: nothing that training logs may end it
                _log.exception("%d calls of log were lost", len(items))
            if not left:
                break

    def _beginnings(self, items: list[Row | Control]) -> list[Control]:
        """Return what makes the runs which this session has not named yet, and another one begins."""
        if self._starts.keys() <= self._begun:
            return []
        named = {item[0] if isinstance(item, tuple) else item.run_id for item in items}
        new = (named & self._starts.keys()) - self._begun
        self._begun |= new
        return [Control(run_id, start=self._starts[run_id]) for run_id in new]

    def _count_out(self, items: list[Row | Control]) -> None:
        points = sum(len(item[4]) for item in items if isinstance(item, tuple))
        self.buffered_points = max(0, self.buffered_points - points) if self.buffer else 0

    def _record(self, found: list[Batch]) -> None:
        is_news = bool(found or self._waiting)
        if is_news:
            self._append(found)
        self._sync_if_due()
        if self._sender is not None:
            # Again and again, if no thread could be made when the session was.
            with contextlib.suppress(RuntimeError):
                self._sender.start()
            if is_news:
                self._sender.notify()

    def _append(self, found: list[Batch]) -> None:
        writer = self._open()
        if writer is not None:
            while self._waiting and self._is_appended(writer, self._waiting[0]):
                self._waiting.popleft()
        for batch in found:
            if writer is None or self._waiting or not self._is_appended(writer, batch):
                self._set_aside(batch)

    def _set_aside(self, batch: Batch) -> None:
        """Drop points, of which there is no end; keep the rest in memory until the disk has room."""
        if not batch.points and len(self._waiting) < WAITING_BATCHES_MAX:
            self._waiting.append(batch)
        else:
            self.dropped_points += batch.points
            self.dropped_batches += 1
            self.is_full = self.settings.on_full is OnFull.RAISE
            self._full_until = time.monotonic() + RETRY_S

    def _is_appended(self, writer: Writer, batch: Batch) -> bool:
        try:
            sequence = writer.append(batch.payload, points=batch.points)
        except SpoolFull:
            return False
        except OSError as error:
            _log.debug("the spool cannot be written: %s", error)
            return False
        self._has_controls = self._has_controls or not batch.points
        self._backlog.add(sequence, batch.points, now_s=time.monotonic())
        self._held_bytes += len(batch.payload)
        if self._held_bytes >= min(HELD_BYTES_MAX, self.settings.spool_bytes_max // 8):
            self._hurry(sequence)
        return True

    def _hurry(self, sequence: int) -> None:
        """Have what is on the disk sent, rather than held back to be sent with more."""
        self._held_bytes = 0
        if self._sender is not None:
            self._sender.hurry(sequence)
        elif self._session is not None:
            self._session.await_sender()

    def _sync_if_due(self) -> None:
        writer, now = self._writer, time.monotonic()
        is_due = self._has_controls or now - self._synced >= self.settings.fsync_interval_s
        if writer and self.settings.durability is Durability.INTERVAL and is_due and not self._is_synced():
            self._synced, self._has_controls = now, False
            with contextlib.suppress(OSError):
                writer.sync()

    def _is_synced(self) -> bool:
        # Another thread may close it.
        writer = self._writer
        if writer is None or self.settings.durability is not Durability.INTERVAL:
            return True
        return writer.synced_sequence == writer.last_sequence

    def _open(self) -> Writer | None:
        """Return the writer of this process's session, which is made if there is none; None if no disk takes it."""
        if self._writer is None and time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + RETRY_S
            for with_fallback in (False, True):
                try:
                    self._begin(fallback_spool_dir() if with_fallback else self.settings.spool_dir)
                except OSError as error:
                    # Not its text, in which each attempt's session has a name of its own.
                    trouble = (with_fallback, error.errno)
                    if trouble not in self._told_troubles:
                        self._told_troubles.add(trouble)
                        _log.warning("no spool can be made there, points are dropped until one can: %s", error)
                else:
                    break
        return self._writer

    def _begin(self, folder: Path) -> None:
        info = Info(
            session_id=uuid.uuid4().hex,
            address=self.settings.address,
            created_ms=time.time_ns() // 1_000_000,
            process_id=os.getpid(),
            host=socket.gethostname(),
            sent_by=self.sent_by,
            rank=self.settings.rank,
            world_size=self.settings.world_size,
            node=self.settings.node,
            local_rank=self.settings.local_rank,
            stands_for_rank=self.stands_for_rank,
        )
        session = sessions.create(folder, info)
        sender, self._backlog = None, Backlog()
        if self.sent_by is None and session.lock_sender():
            sender = Sender(session, self.settings, backlog=self._backlog)

        def acknowledged() -> int:
            return sender.acknowledged_sequence if sender else session.acknowledged()

        session_id, limits = bytes.fromhex(info.session_id), self.settings.limits
        self._writer = Writer(session.files, session_id=session_id, epoch=1, limits=limits, acknowledged=acknowledged)
        self._session, self._sender = session, sender

    def _is_sent_elsewhere(self, last: int, deadline: float) -> bool:
        """Wait until another process has noted that everything is acknowledged."""
        self._hurry(last)
        while self._session is not None and self._session.acknowledged() < last:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def _tell_dropped(self) -> None:
        dropped = self.dropped_points + (self._writer.dropped_points if self._writer else 0)
        if dropped > self._told_dropped * 2 or (dropped and not self._told_dropped):
            self._told_dropped = dropped
            _log.error(
                "no room to keep what is logged: %d points dropped so far (on_full=%s, spool_bytes_max=%d)",
                dropped,
                self.settings.on_full.value,
                self.settings.spool_bytes_max,
            )
