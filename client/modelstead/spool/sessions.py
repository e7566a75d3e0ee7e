"""The folder of a spool's sessions: one folder a process, its locks, and who may send it.

A session is written by the process that made it, and by no other: `writer.lock`. It is sent by whoever holds
`sender.lock`, most often the same process. Both are locks of the system, which a process that dies lets go.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelstead.spool.files import DiskFiles

FORMAT = 1

_INFO, _STATE = "session.json", "state.json"
_WRITER, _SENDER = "writer.lock", "sender.lock"
_UNFINISHED = ".new-"
_REJECTED = "rejected"


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

    def save_acknowledged(self, sequence: int) -> None:
        """Note an acknowledgement, before what it is of is removed. Raises OSError."""
        self._save(self._state()["epoch"], sequence)

    def keep_rejected(self, entry: dict[str, Any]) -> Path:
        """Add a line to the file of what the server has refused for good, which outlives the session; returns it."""
        folder = self.path.parent / _REJECTED
        folder.mkdir(exist_ok=True)
        file = folder / f"{self.info.session_id}.jsonl"
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")
        return file

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
        except BlockingIOError:
            os.close(lock)
            return False
        self._locks[name] = lock
        return True

    def _state(self) -> dict[str, int]:
        try:
            text = (self.path / _STATE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return {"epoch": 0, "acknowledged": 0}
        state = json.loads(text)
        return {"epoch": int(state["epoch"]), "acknowledged": int(state["acknowledged"])}

    def _save(self, epoch: int, acknowledged: int) -> None:
        self.files.replace(_STATE, json.dumps({"epoch": epoch, "acknowledged": acknowledged}).encode())


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
        session.files.replace(_INFO, json.dumps({"format": FORMAT, **asdict(info)}).encode())
        path = root / info.session_id
        unfinished.rename(path)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    session.path, session.files = path, DiskFiles(path)
    return session


def find(root: Path, *, without: Collection[str] = ()) -> list[Session]:
    """Return the sessions in a folder, oldest first. What is not one, or of a later format, is left out, and so are the
    sessions `without`.
    """
    try:
        names = [name for name in os.listdir(root) if name not in without and not name.startswith(".")]  # noqa: PTH208
    except FileNotFoundError:
        return []
    paths = [root / name for name in names if (root / name / _INFO).is_file()]
    sessions = [session for path in paths if (session := _opened(path))]
    return sorted(sessions, key=lambda session: (session.info.created_ms, session.info.session_id))


def _opened(path: Path) -> Session | None:
    try:
        info = json.loads((path / _INFO).read_text(encoding="utf-8"))
        if info.pop("format") != FORMAT:
            return None
        return Session(path, Info(**info))
    except (OSError, ValueError, KeyError, TypeError):
        return None
