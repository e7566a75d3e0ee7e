"""Sends sessions of other processes: of forked children, in which gRPC cannot be used because their parent used it
before, and, once after a start, of processes on this host that are gone and have left something for the same server.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from modelstead.runs import settings
from modelstead.runs.recorder import Recorder
from modelstead.runs.sender import Sender
from modelstead.runs.settings import Settings
from modelstead.spool import sessions
from modelstead.spool.sessions import Session

_SETTLE_S = 1.0
_SCAN_S = 0.2
_SENDERS_MAX = 64

_Wanted = Callable[[Session, Collection[Recorder]], bool]

_log = logging.getLogger("modelstead")


class Adoption:
    """A thread that looks for such sessions and has a sender for each."""

    def __init__(self, recorders: Collection[Recorder]) -> None:
        self._recorders = recorders
        self._senders: dict[str, Sender] = {}
        # What was looked at and is not a child's, or another process's: it need not be read again.
        self._others: set[str] = set()
        # What cannot be read or sent: those that were told, and why the others cannot.
        self._told: set[Path] = set()
        self._untold: dict[Path, OSError] = {}
        self._lock = threading.Lock()
        self._has_forked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelstead-adoption", daemon=True)

    def start(self) -> None:
        """Raises RuntimeError if no thread can be made, as when the interpreter is ending."""
        self._thread.start()

    def watch_children(self) -> None:
        """From now on there may be children."""
        self._has_forked.set()

    def has_unsent(self) -> bool:
        """Whether there is anything that a child has logged so far and that is not acknowledged, or not removed yet."""
        if not self._has_forked.is_set():
            return False
        self._adopt(_is_child)
        with self._lock:
            children = [sender for sender in self._senders.values() if sender.session.info.sent_by is not None]
        return not all(_is_at_rest(sender) for sender in children if sender.is_alive)

    def _run(self) -> None:
        self._has_forked.wait(_SETTLE_S)
        self._try(_is_orphan)
        self._has_forked.wait()
        while True:
            self._try(_is_child)
            time.sleep(_SCAN_S)

    def _try(self, is_wanted: _Wanted) -> None:
        try:
            self._adopt(is_wanted)
        except Exception:  # noqa: BLE001 - the boundary of a thread: told, and what is not sent is kept
            _log.exception("the sessions of other processes could not be looked for")

    def _adopt(self, is_wanted: _Wanted) -> None:
        with self._lock:
            self._senders = {name: sender for name, sender in self._senders.items() if sender.is_alive}
            recorders = list(self._recorders)
            for folder in _folders(recorders):
                try:
                    found = sessions.find(folder, without=self._others | self._senders.keys(), unreadable=self._note)
                except OSError as error:
                    _log.debug("no sessions can be looked for in %s: %s", folder, error)
                    continue
                for session in found:
                    self._consider(session, recorders, is_wanted)
            self._tell()

    def _consider(self, session: Session, recorders: Collection[Recorder], is_wanted: _Wanted) -> None:
        try:
            if is_wanted(session, recorders) and len(self._senders) < _SENDERS_MAX and session.lock_sender():
                sender = Sender(session, _settings_for(session, recorders), until_done=True)
                sender.start()
                self._senders[session.info.session_id] = sender
                return
        except OSError as error:
            if session.path.exists():
                self._note(session.path, error)
        except Exception as error:  # noqa: BLE001 - no session may keep others from being sent; what is in it is kept
            _log.debug("%s cannot be sent now: %s", session.path, error)
        session.close()
        if not _is_child(session, recorders):
            self._others.add(session.info.session_id)

    def _note(self, path: Path, error: OSError) -> None:
        if path not in self._told:
            self._untold[path] = error

    def _tell(self) -> None:
        """Tell once of each session that cannot be sent: in one line, as there may be many, of another user."""
        if not self._untold:
            return
        path, error = next(iter(self._untold.items()))
        more = f" (and {len(self._untold) - 1} more)" if len(self._untold) > 1 else ""
        _log.warning("%s%s cannot be sent from here now, and is kept: %s", path, more, error)
        self._told |= self._untold.keys()
        self._untold.clear()


def _folders(recorders: Collection[Recorder]) -> set[Path]:
    """Return where sessions of these recorders, and of children that have them too, may be."""
    folders = {recorder.settings.spool_dir for recorder in recorders}
    with contextlib.suppress(OSError):
        folders.add(settings.fallback_spool_dir(is_to_be_made=False))
    return folders


def _settings_for(session: Session, recorders: Collection[Recorder]) -> Settings:
    """Return how to send a session: as what is logged here to the same server, else as `modelstead sync` would. A
    server is not told the credentials for another one.
    """
    # The newest first: who logs there anew may do so because the credentials before were wrong.
    for recorder in reversed([*recorders]):
        if recorder.settings.address == session.info.address:
            return recorder.settings
    return settings.load(address=session.info.address, spool_dir=session.path.parent)


def _is_at_rest(sender: Sender) -> bool:
    try:
        return sender.is_at_rest()
    except OSError:
        # What cannot be looked at may have something.
        return False


def _is_child(session: Session, recorders: Collection[Recorder]) -> bool:
    sent_by = session.info.sent_by
    return sent_by is not None and any(recorder.session_id == sent_by for recorder in recorders)


def _is_orphan(session: Session, recorders: Collection[Recorder]) -> bool:
    is_for_us = any(recorder.settings.address == session.info.address for recorder in recorders)
    return is_for_us and session.info.is_of_this_host and session.lock_writer()
