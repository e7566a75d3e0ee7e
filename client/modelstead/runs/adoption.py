"""Sends the sessions of forked children, in which gRPC cannot be used because their parent used it before."""

import logging
import threading
from collections.abc import Collection

from modelstead.runs.recorder import Recorder
from modelstead.runs.sender import Sender
from modelstead.spool import sessions
from modelstead.spool.sessions import Session

_SCAN_S = 0.2
_SENDERS_MAX = 64

_log = logging.getLogger("modelstead")


class Adoption:
    """A thread that looks for the children's sessions and has a sender for each."""

    def __init__(self, recorders: Collection[Recorder]) -> None:
        self._recorders = recorders
        self._senders: dict[str, Sender] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelstead-adoption", daemon=True)

    def start(self) -> None:
        """Raises RuntimeError if the interpreter is ending."""
        self._thread.start()

    def has_unsent(self) -> bool:
        """Whether there is anything that a child has logged so far and that is not acknowledged, or not removed yet."""
        self._scan()
        with self._lock:
            return not all(sender.is_at_rest() for sender in self._senders.values())

    def _run(self) -> None:
        while not self._stopping.wait(_SCAN_S):
            try:
                self._scan()
            except Exception:  # noqa: BLE001 - the boundary of a thread: told, and tried again
                _log.exception("the sessions of forked processes could not be looked for")

    def _scan(self) -> None:
        with self._lock:
            for session_id, sender in list(self._senders.items()):
                if not sender.is_alive:
                    if sender.is_done:
                        sender.session.delete()
                    else:
                        sender.session.close()
                    del self._senders[session_id]
            for recorder in list(self._recorders):
                if recorder.has_sender:
                    self._adopt(recorder)

    def _adopt(self, recorder: Recorder) -> None:
        for session in sessions.find(recorder.settings.spool_dir):
            is_child = session.info.sent_by is not None and session.info.sent_by == recorder.session_id
            is_known = session.info.session_id in self._senders
            if is_child and not is_known and len(self._senders) < _SENDERS_MAX and session.lock_sender():
                self._send(session, recorder)

    def _send(self, session: Session, recorder: Recorder) -> None:
        sender = self._senders[session.info.session_id] = Sender(session, recorder.settings, until_done=True)
        sender.start()
