"""Sends a session's spool through IngestStream, one stream after another, until everything is acknowledged or it is
told to stop. The spool's writer may be this process, another one, or gone.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from modelstead import jitter
from modelstead.runs import connection, heartbeats
from modelstead.runs.awaited_runs import AwaitedRuns
from modelstead.runs.backlog import Backlog
from modelstead.runs.bursts import Bursts
from modelstead.runs.connection import DiscoveryError, Failure
from modelstead.runs.heartbeats import Heartbeats
from modelstead.runs.outbox import Outbox
from modelstead.runs.refused import Refused
from modelstead.runs.settings import Settings, SettingsError
from modelstead.spool import reader
from modelstead.spool.reader import Reader
from modelstead.spool.sessions import Session
from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc as pb_grpc

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 5.0
REFUSED_BACKOFF_S = 30.0
CONFLICTS_MAX = 3
# Longer than a server may take for a commit, or its database for a restart.
ACKNOWLEDGEMENT_TIMEOUT_S = 60.0
TELL_AFTER_S = 10.0

_POLL_S = 0.2

_log = logging.getLogger("modelstead")


@dataclass(slots=True)
class _Stream:
    """One attempt. All of it under the sender's condition."""

    is_open: bool = False
    is_over: bool = False
    paused_until: float = 0.0
    heard: float = 0.0


class Sender:
    """A thread that sends. The caller holds the session's lock for senders.

    With `until_done` it ends once the writer is gone and everything is acknowledged: the session is removed, and
    `is_done` tells so. With `awaits_runs` the server waits for runs that others have yet to begin. It is told of the
    `backlog`, which whoever writes the session in this process keeps.
    """

    def __init__(
        self,
        session: Session,
        settings: Settings,
        *,
        until_done: bool = False,
        awaits_runs: bool = True,
        backlog: Backlog | None = None,
    ) -> None:
        self.session = session
        self.reader = Reader(session.files)
        self.is_done = False
        self.refused = Refused(session)
        self._awaited_runs = AwaitedRuns(are_wanted=awaits_runs)
        self._is_recovered = False
        # Why nothing is sent at present; empty while it is.
        self.trouble = ""
        self._settings = settings
        self._until_done = until_done
        # Another process tells nothing of what it writes.
        self._poll_s = _POLL_S if until_done else 1.0
        self._backlog = backlog
        self._bursts = Bursts(backlog, interval_s=settings.send_interval_s)
        self._changed = threading.Condition()
        self._stopping = False
        self._told: set[str] = set()
        self._epoch, self._noted_sequence = session.take_up()
        self._noted_s = float("-inf")
        self._outbox = Outbox(self.reader, acknowledged=self._noted_sequence, backlog=backlog)
        self._heartbeats = Heartbeats(session.info, is_alive=lambda: not until_done or not session.lock_writer())
        self._channel: grpc.Channel | None = None
        self._failures = self._conflicts = 0
        self._quiet_since = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="modelstead-sender", daemon=True)

    @property
    def acknowledged_sequence(self) -> int:
        return self._outbox.acknowledged_sequence

    @property
    def missing_count(self) -> int:
        return self._outbox.missing_count

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin, unless it has begun. Raises RuntimeError if no thread can be made; then it may be tried again."""
        if self._thread.ident is None:
            self._thread.start()

    def notify(self) -> None:
        """Tell that there may be more to send. Nobody is woken for what is not to be sent yet."""
        with self._changed:
            if self._bursts.wait_s(self._outbox.sent_sequence, time.monotonic()) <= 0:
                self._changed.notify_all()

    def hurry(self, sequence: int) -> None:
        """Hold nothing back up to a batch."""
        with self._changed:
            self._bursts.hurry(sequence)
            self._changed.notify_all()

    def is_at_rest(self) -> bool:
        """Whether all on the disk is acknowledged, and its writer lives and may add to it. Who asks waits for it."""
        with self._changed:
            self._bursts.hurry_all()
            self._changed.notify_all()
            # A session that is done is being removed, and cannot be looked at any more.
            return not self.is_done and self._outbox.is_empty() and not self.session.lock_writer()

    def wait_for(self, sequence: int, timeout_s: float) -> bool:
        """Wait until a sequence is acknowledged. Returns whether it is."""
        self.hurry(sequence)
        with self._changed:
            self._changed.wait_for(
                lambda: self.acknowledged_sequence >= sequence or not self._thread.is_alive(), timeout_s
            )
            return self.acknowledged_sequence >= sequence

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread, but no longer than that."""
        self._thread.join(timeout_s)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the stream and the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while (delay_s := self._round()) is not None:
                self._sleep(delay_s)
        except Exception:  # noqa: BLE001 - the boundary of a thread: told, and what is not sent is kept
            _log.exception("sending has stopped; what is not sent is kept in %s", self.session.path)
        finally:
            if self._channel is not None:
                self._channel.close()
            self.refused.tell_lost(is_last=True)
            if self.is_done:
                self.session.delete()
            with self._changed:
                self._changed.notify_all()

    def _round(self) -> float | None:
        """Send what there is, once there is something. Returns how long to wait then, None if it is time to end."""
        try:
            return self._send() if self._wait_for_work() else None
        except Exception as error:
            # Whatever it is, the next attempt may fare better.
            if isinstance(error, FileNotFoundError) and not self.session.path.exists():
                raise
            _log.debug("sending has failed", exc_info=True)
            return self._delay_s(Failure(grpc.StatusCode.UNKNOWN, repr(error)), has_unsent=True)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to send. Returns False if it is time to end."""
        with self._changed:
            while not self._stopping:
                self._note_if_awaited()
                if not self._outbox.is_empty() or self._heartbeats.is_needed():
                    return True
                if self._until_done and self._is_finished():
                    self.is_done = True
                    return False
                self._changed.wait(_POLL_S)
        return False

    def _is_finished(self) -> bool:
        # The lock first: what is written before it is free is seen by the look at the files after it.
        if not self.session.lock_writer():
            return False
        # What the writer had not finished when it died.
        if not self._is_recovered and (cut := reader.recover(self.session.files)):
            _log.warning("%s: %d bytes that were not written to their end are cut off", self.session.path, cut)
        self._is_recovered = True
        return self._outbox.is_empty()

    def _sleep(self, delay_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, delay_s)

    def _send(self) -> float:
        """Hold one stream for as long as it goes. Returns how long to wait before the next one."""
        stream = _Stream(heard=time.monotonic())
        try:
            try:
                call = self._call(stream)
                threading.Thread(target=self._watch, args=(stream, call), name="modelstead-watch", daemon=True).start()
                for response in call:
                    self._take(stream, response)
            finally:
                self._end(stream)
        except grpc.RpcError as error:
            return self._failed(connection.failure(error))
        except (DiscoveryError, SettingsError, OSError) as error:
            return self._failed(Failure(grpc.StatusCode.UNAVAILABLE, str(error)))
        with self._changed:
            return 0.0 if self._stopping or self.is_done else jitter.between(0, BACKOFF_MIN_S)

    def _call(self, stream: _Stream) -> Any:
        if self._channel is None:
            self._channel = connection.channel(connection.resolve(self._settings), self._settings)
        stub = pb_grpc.IngestServiceStub(self._channel)
        call = stub.IngestStream(self._requests(stream), metadata=connection.metadata(self._settings))
        call.add_callback(lambda: self._end(stream))
        return call

    def _end(self, stream: _Stream) -> None:
        with self._changed:
            stream.is_over = True
            self._changed.notify_all()

    def _watch(self, stream: _Stream, call: Any) -> None:
        """Cancel a stream on which nothing is heard although something is awaited, or that is to end and does not."""
        try:
            with self._changed:
                while not stream.is_over:
                    silence_s = time.monotonic() - stream.heard
                    limit_s = 2.0 if self._stopping else ACKNOWLEDGEMENT_TIMEOUT_S
                    if silence_s > limit_s and (self._stopping or not stream.is_open or self._outbox.is_under_way):
                        break
                    self._changed.wait(1.0)
        finally:
            if not stream.is_over:
                call.cancel()

    def _requests(self, stream: _Stream) -> Iterator[pb.IngestStreamRequest]:
        info = self.session.info
        session = pb.Session(session_id=info.session_id, epoch=self._epoch, rank=heartbeats.rank_of(info))
        yield pb.IngestStreamRequest(
            open=session,
            acknowledged_sequence=self.acknowledged_sequence,
            awaits_runs=self._awaited_runs.are_awaited,
        )
        while (request := self._next(stream)) is not None:
            yield request

    def _next(self, stream: _Stream) -> pb.IngestStreamRequest | None:
        """Wait for the next batch that may be sent, or heartbeat that is due. Returns None to end the stream."""
        with self._changed:
            while not stream.is_over and not self._stopping:
                self._note_if_awaited()
                if self._until_done and (self.session.is_awaited() or self.session.lock_writer()):
                    self._bursts.hurry_all()
                now = time.monotonic()
                pause_s = max(stream.paused_until - now, self._bursts.wait_s(self._outbox.sent_sequence, now))
                if stream.is_open and (heartbeat := self._heartbeats.next(now)) is not None:
                    return self._request(now, heartbeat=heartbeat)
                if stream.is_open and pause_s <= 0:
                    if not self._outbox.is_under_way:
                        # From now on at the earliest an acknowledgement is awaited.
                        stream.heard = now
                    if batches := self._outbox.next():
                        for batch in batches:
                            self._heartbeats.sent(batch, now=now)
                        self._bursts.sent(self._outbox.sent_sequence, now)
                        return self._request(now, batch=batches[0], more_batches=batches[1:])
                    if self._outbox.has_sent_all():
                        self._bursts.caught_up(now)
                    if self._until_done and self._is_finished():
                        return None
                self._changed.wait(min(pause_s, self._poll_s) or self._poll_s)
        return None

    def _request(self, now: float, **content: Any) -> pb.IngestStreamRequest:
        """Return a request that says, if it is time to say so, what waits behind it."""
        told = self._backlog.news_after(self._outbox.sent_sequence, now_s=now) if self._backlog else None
        return pb.IngestStreamRequest(backlog=told, **content)

    def _take(self, stream: _Stream, response: pb.IngestStreamResponse) -> None:
        with self._changed:
            stream.heard = time.monotonic()
            before = self.acknowledged_sequence
            self.refused.keep(response.rejections, self._outbox.payload)
            if not stream.is_open:
                stream.is_open = True
                self._outbox.open(
                    acknowledged=response.acknowledged_sequence,
                    window_bytes=response.window_bytes,
                    request_bytes_max=response.request_bytes_max,
                )
                self._heartbeats.opened(response.heartbeat_period.ToMilliseconds() / 1000, now=stream.heard)
                if not self._awaited_runs.is_missing:
                    self._recovered()
            else:
                self._outbox.acknowledge(response.acknowledged_sequence)
            if response.HasField("pause"):
                stream.paused_until = time.monotonic() + response.pause.ToMilliseconds() / 1000
            if self.acknowledged_sequence > before:
                self._conflicts = 0
                if self._awaited_runs.is_missing:
                    if response.rejections:
                        # What was lost is told of by itself.
                        self._told.discard(self.trouble)
                    self._recovered()
                self._awaited_runs.went_on()
                self._remove()
                self._note_if_awaited()
            self._changed.notify_all()

    def _remove(self) -> None:
        """Remove what is acknowledged, after having noted that it is."""
        removable = self.reader.removable(self.acknowledged_sequence)
        if removable:
            try:
                self._note()
            except OSError:
                # There may be no room but what is made here. The server knows as well what it has acknowledged.
                self.reader.remove(removable)
                self._note()
        self.reader.remove(removable)

    def _note_if_awaited(self) -> None:
        """Note now and then what is acknowledged: whoever writes the session in another process waits to read it."""
        is_news = self._until_done and self.acknowledged_sequence > self._noted_sequence
        if is_news and time.monotonic() - self._noted_s > _POLL_S:
            with contextlib.suppress(OSError):
                self._note()

    def _note(self) -> None:
        self._noted_s = time.monotonic()
        self.session.save_acknowledged(self.acknowledged_sequence)
        self._noted_sequence = self.acknowledged_sequence

    def _recovered(self) -> None:
        if self.trouble in self._told:
            _log.warning("%s: logging goes on; nothing was lost.", self._settings.address)
        self._told.discard(self.trouble)
        self._failures, self.trouble = 0, ""

    def _failed(self, failure: Failure) -> float:
        """Decide how long to wait, and tell once what is wrong if it lasts."""
        with self._changed:
            has_unsent = not self._outbox.is_empty()
            if not has_unsent and not self._heartbeats.is_needed():
                # The server has ended a stream on which nothing came.
                return 0.0
        return self._delay_s(failure, has_unsent=has_unsent)

    def _delay_s(self, failure: Failure, *, has_unsent: bool) -> float:
        if not self._failures:
            self._quiet_since = time.monotonic()
        self._failures += 1
        self.trouble = f"{failure.reason or failure.code.name}: {failure.message}"
        if failure.code is grpc.StatusCode.NOT_FOUND:
            self._awaited_runs.missed(time.monotonic())
        else:
            self._awaited_runs.failed()
        if failure.code is grpc.StatusCode.ABORTED:
            self._conflicts += 1
            if self._conflicts >= CONFLICTS_MAX:
                self._stopping = True
                _log.error("sending has stopped: %s was taken up elsewhere (%s)", self.session.path, failure.message)
                return 0.0
        if has_unsent and (failure.is_refused or time.monotonic() - self._quiet_since > TELL_AFTER_S):
            self._tell()
        if failure.retry_after_s is not None and not self._awaited_runs.is_missing:
            return failure.retry_after_s * jitter.between(1, 1.5)
        if self._failures % 8 == 0 and self._channel is not None:
            # The next attempt asks anew where tracking is.
            self._channel.close()
            self._channel = None
        ceiling = REFUSED_BACKOFF_S if failure.is_refused else BACKOFF_MAX_S
        return jitter.between(BACKOFF_MIN_S, min(ceiling, BACKOFF_MIN_S * 2 ** min(self._failures, 10)))

    def _tell(self) -> None:
        if self.trouble not in self._told:
            self._told.add(self.trouble)
            _log.warning(
                "%s does not take what is logged (%s). Training goes on; it is kept in %s.",
                self._settings.address,
                self.trouble,
                self.session.path,
            )
