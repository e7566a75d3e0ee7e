"""The folder of a spool's sessions: one folder a process, its locks, and who may send it.

A session is written by the process that made it, and by no other: `writer.lock`. It is sent by whoever holds
`sender.lock`, most often the same process. Both are locks of the system, which a process that dies lets go.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelstead.spool.files import FULL, DiskFiles

FORMAT = 1
# Of what the server has refused of each session.
REJECTED_BYTES_MAX = 16 * 1024 * 1024

_INFO, _STATE = "session.json", "state.json"
_WRITER, _SENDER = "writer.lock", "sender.lock"
_AWAITED = "awaited"
_UNFINISHED = ".new-"
_REJECTED = "rejected"
# What else may lie in the folder, such as `lost+found`, is nobody's session if it cannot be read.
_SESSION_NAME = re.compile(r"[0-9a-f]{32}")
# Any state fits, and so one takes the place of another where the disk has no room for a second file.
_STATE_BYTES = 128
_OVERWRITTEN_S = 0.01
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError)

Unreadable = Callable[[Path, OSError], None]
"""Is told of a session's folder, and why it cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Info:
    """What is known of a session without reading it. `sent_by` is the session of an ancestor that sends it, if its own
    process cannot. A process of a distributed job has a rank; one that only helps it, such as a worker that loads data,
    has the same and does not stand for it.
    """

    session_id: str
    address: str
    created_ms: int
    process_id: int
    host: str
    sent_by: str | None = None
    rank: int | None = None
    world_size: int = 1
    node: str = ""
    local_rank: int | None = None
    stands_for_rank: bool = False

    @property
    def is_of_this_host(self) -> bool:
        """Whether its process was, or is, on this host. Where it was on another one, its locks may not tell whether it
        lives: file systems that hosts share may keep the locks of each to itself.
        """
        return self.host == socket.gethostname()


class Session:
    """A session's folder, and the locks on it that this process holds."""

    def __init__(self, path: Path, info: Info) -> None:
        self.path = path
        self.info = info
        self.files = DiskFiles(path)
        self._locks: dict[str, int] = {}

    def lock_writer(self) -> bool:
        """Become the one that writes. Returns False if its process lives."""
        return self._lock(_WRITER)

    def lock_sender(self) -> bool:
        """Become the one that sends. Returns False if somebody does already."""
        return self._lock(_SENDER)

    def take_up(self) -> tuple[int, int]:
        """Return a new epoch, greater than all before it, and the newest sequence known to be acknowledged. Only for
        the holder of the sender's lock. Raises OSError.
        """
        state = self._state()
        epoch = state["epoch"] + 1
        self._save(epoch, state["acknowledged"])
        return epoch, state["acknowledged"]

    def acknowledged(self) -> int:
        """Return the newest sequence that is known, on the disk, to be acknowledged; it lags behind."""
        return self._state()["acknowledged"]

    def await_sender(self) -> None:
        """Ask whoever sends it to hold nothing back. Where that cannot be noted, it is sent an interval later."""
        with contextlib.suppress(OSError):
            (self.path / _AWAITED).touch()

    def is_awaited(self) -> bool:
        """Whether that was asked for since this was called last. Only for the holder of the sender's lock."""
        try:
            (self.path / _AWAITED).unlink()
        except OSError:
            return False
        return True

    def save_acknowledged(self, sequence: int) -> None:
        """Note an acknowledgement, before what it is of is removed. Raises OSError."""
        self._save(self._state()["epoch"], sequence)

    def keep_rejected(self, entry: dict[str, Any]) -> Path:
        """Add a line to the file of what the server has refused for good, which outlives the session; returns it. Only
        for the holder of the sender's lock. Raises OSError: EFBIG if the file would have more than REJECTED_BYTES_MAX.
        """
        folder = self.path.parent / _REJECTED
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{self.info.session_id}.jsonl"
        line = json.dumps(entry).encode() + b"\n"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(file).st_size
            if size + len(line) > REJECTED_BYTES_MAX:
                raise OSError(errno.EFBIG, f"of a session no more than {REJECTED_BYTES_MAX} bytes are kept", str(path))
            if os.write(file, line) < len(line):
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        finally:
            os.close(file)
        return path

    def delete(self) -> None:
        """Remove the session, of which everything is acknowledged, and let its locks go."""
        self.files.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let go of the files and locks. In a forked child this takes nothing from the parent."""
        self.files.close()
        for lock in self._locks.values():
            with contextlib.suppress(OSError):
                os.close(lock)
        self._locks.clear()

    def _lock(self, name: str) -> bool:
        if name in self._locks:
            return True
        try:
            lock = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._locks[name] = lock
        return True

    def _state(self) -> dict[str, int]:
        try:
            try:
                return _decoded_state((self.path / _STATE).read_bytes())
            except _DAMAGED:
                # It may be about to be overwritten.
                time.sleep(_OVERWRITTEN_S)
                return _decoded_state((self.path / _STATE).read_bytes())
        except FileNotFoundError:
            return {"epoch": 0, "acknowledged": 0}
        except _DAMAGED as error:
            raise OSError(errno.EIO, "it is damaged", str(self.path / _STATE)) from error

    def _save(self, epoch: int, acknowledged: int) -> None:
        data = _encoded_state(epoch, acknowledged)
        try:
            self.files.replace(_STATE, data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            # A state is within a sector of the disk, so half of one is not to be expected, and would be noticed.
            try:
                self.files.overwrite(_STATE, data)
            except OSError:
                raise error from None


def create(root: Path, info: Info) -> Session:
    """Make the folder of a new session; the caller writes it. Raises OSError.

    The folder has its name only when it is complete and locked, so that nobody takes it for one that was left behind.
    """
    root.mkdir(parents=True, exist_ok=True)
    unfinished = root / f"{_UNFINISHED}{info.session_id}"
    unfinished.mkdir(mode=0o700)
    try:
        session = Session(unfinished, info)
        if not session.lock_writer():
            raise OSError(f"{unfinished} cannot be locked")
        # From now on there is one that can be overwritten, for whoever takes the session up when the disk is full.
        session.files.replace(_STATE, _encoded_state(0, 0))
        session.files.replace(_INFO, json.dumps({"format": FORMAT, **asdict(info)}).encode())
        path = root / info.session_id
        unfinished.rename(path)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    session.path, session.files = path, DiskFiles(path)
    return session


def find(
    root: Path, *, without: Collection[str] = (), unreadable: Unreadable = lambda path, error: None
) -> list[Session]:
    """Return the sessions in a folder, oldest first. What is not one, or of a later format, is left out, and so are the
    sessions `without` and those that cannot be read, as of another user. Raises OSError if the folder cannot be read.
    """
    try:
        names = [name for name in os.listdir(root) if name not in without and not name.startswith(".")]  # noqa: PTH208
    except FileNotFoundError:
        return []
    sessions = []
    for name in names:
        try:
            session = _opened(root / name)
        except OSError as error:
            if _SESSION_NAME.fullmatch(name):
                unreadable(root / name, error)
        else:
            sessions += [session] if session else []
    return sorted(sessions, key=lambda session: (session.info.created_ms, session.info.session_id))


def _opened(path: Path) -> Session | None:
    try:
        data = (path / _INFO).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        info = json.loads(data)
        if info.pop("format") != FORMAT:
            return None
        return Session(path, Info(**info))
    except _DAMAGED:
        return None


def _encoded_state(epoch: int, acknowledged: int) -> bytes:
    state = {"epoch": epoch, "acknowledged": acknowledged}
    return json.dumps({**state, "check": _check(state)}).encode().ljust(_STATE_BYTES)


def _decoded_state(data: bytes) -> dict[str, int]:
    """Raises one of _DAMAGED."""
    found = json.loads(data)
    state = {"epoch": int(found["epoch"]), "acknowledged": int(found["acknowledged"])}
    # Those of earlier releases have none, and were never overwritten.
    if found.get("check", _check(state)) != _check(state):
        raise ValueError("its checksum is another one")
    return state


def _check(state: dict[str, int]) -> int:
    return zlib.crc32(json.dumps(state).encode())
