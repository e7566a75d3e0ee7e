"""The data folder of one local platform: its marker, its lock, its secrets."""

import fcntl
import json
import os
import pwd
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Self

from services.local.errors import LocalError

_LAYOUT = "1"
_LOCK = "lock"
_MARKER = "VERSION"
_RESTORING = "restoring"


class DataDir:
    """An open data folder. While it is open no other launcher can open it, also not from another container."""

    def __init__(self, path: Path, *, url: str = "") -> None:
        """Create or open the folder and lock it. `url` is what a second launcher is told to look at.

        Raises LocalError if it is locked, foreign, of another user or of a newer layout.
        """
        self.path = path.resolve()
        try:
            self._lock = _locked(self.path, url)
            try:
                _claim(self.path)
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            raise LocalError(f"The data folder {self.path} cannot be used: {error.strerror}.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have the folder. The lock file stays: removing it would let two launchers lock two files."""
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    @property
    def is_being_restored(self) -> bool:
        """Whether a backup was begun to be restored here, and not to its end."""
        return (self.path / _RESTORING).exists()

    def begin_restoring(self) -> None:
        """Keep everybody else off until `end_restoring`, however often it takes."""
        (self.path / _RESTORING).touch()

    def end_restoring(self) -> None:
        """Let the folder be used."""
        (self.path / _RESTORING).unlink()

    def log(self, name: str) -> Path:
        """Return where the process `name` logs."""
        return self.path / "logs" / f"{name}.log"

    def secret_path(self, name: str) -> Path:
        """Return the file of the secret `name`, which may not exist yet."""
        return self.path / "secrets" / name

    def secret(self, name: str) -> str:
        """Return the secret `name`: 43 random characters made when it is first asked for."""
        with suppress(FileNotFoundError):
            return self.secret_path(name).read_text(encoding="ascii").strip()
        text = secrets.token_urlsafe(32)
        self.keep_secret(name, text)
        return text

    def keep_secret(self, name: str, text: str) -> Path:
        """Write a secret so that only its owner can read it, whole or not at all. Returns its file."""
        path = self.secret_path(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft = path.with_name(f".{name}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        return draft.replace(path)


def _locked(path: Path, url: str) -> int:
    """Create the folder if need be and return a descriptor that holds its lock. Children do not inherit it."""
    _refuse_foreign(path)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(os.read(lock, 4096))
        os.close(lock)
        raise LocalError(f"Modelstead already runs on {path}{holder}.") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)
    return lock


def _holder(content: bytes) -> str:
    try:
        holder = json.loads(content)
    except ValueError:
        # It has the lock, but has not signed yet.
        return ""
    return f" (process {holder['pid']}{', ' + holder['url'] if holder['url'] else ''})"


def _refuse_foreign(path: Path) -> None:
    if (path / _MARKER).exists() or not path.exists():
        return
    if {entry.name for entry in path.iterdir()} - {_LOCK, ".gitignore"}:
        raise LocalError(f"{path} holds other files than Modelstead's: choose an empty or new folder with --data-dir.")


def _claim(path: Path) -> None:
    """Mark a new folder as ours, or check that an old one is."""
    marker = path / _MARKER
    if not marker.exists():
        (path / ".gitignore").write_text("*\n", encoding="ascii")
        marker.write_text(f"{_LAYOUT}\n", encoding="ascii")
    layout = marker.read_text(encoding="utf-8").strip()
    if layout != _LAYOUT:
        raise LocalError(f"{path} has layout {layout!r}, this release knows {_LAYOUT}: use the release that made it.")
    owner = marker.stat().st_uid
    if owner != os.geteuid():
        raise LocalError(f"{path} belongs to {_user(owner)}: start as that user, or choose another --data-dir.")


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with id {uid}"
