"""The folder of a backup: sets of a base backup and its WAL, the contents that all sets share, and one key."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.local.errors import LocalError

_LAYOUT = "1"
_MARKER = "VERSION"
_LOCK = "lock"
_COMPLETE = "complete"
_COPIED = "objects-copied"
_NAME_FORMAT = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True)
class BackupSet:
    """A base backup, and the WAL that was received since it was begun."""

    path: Path

    @property
    def base(self) -> Path:
        return self.path / "base"

    @property
    def wal(self) -> Path:
        return self.path / "wal"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def sound_since(self) -> datetime | None:
        """The first moment that it can be restored to; None while it is not complete."""
        try:
            text = (self.path / _COMPLETE).read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        return datetime.fromisoformat(json.loads(text)["sound_since"])

    def complete(self, sound_since: datetime) -> None:
        """Say that it can be restored."""
        _write(self.path / _COMPLETE, json.dumps({"sound_since": sound_since.isoformat()}))


class BackupFolder:
    """A folder that holds backups of one platform, and nothing else."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises LocalError unless it is there and one of ours."""
        self.path = path.resolve()
        try:
            layout = (self.path / _MARKER).read_text(encoding="ascii").strip()
        except OSError as error:
            raise LocalError(f"{self.path} is not a folder of backups: {error.strerror}.") from error
        if layout != f"backups {_LAYOUT}":
            raise LocalError(f"{self.path} has layout {layout!r}, this release knows 'backups {_LAYOUT}'.")

    @classmethod
    def made(cls, path: Path) -> "BackupFolder":
        """Open it, and make it first if it is not there or empty. Raises LocalError."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not any(path.iterdir()):
                _write(path / _MARKER, f"backups {_LAYOUT}\n")
        except OSError as error:
            raise LocalError(f"{path} cannot be used for backups: {error.strerror}.") from error
        return cls(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other backup out for as long as the block lasts: it would remove the set that this one fills.

        Who restores is not kept out. Raises LocalError if a backup is running. Children do not inherit the lock.
        """
        lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LocalError(
                    f"Another backup is running into {self.path}: wait for its end, or name another folder."
                ) from error
            yield
        finally:
            os.close(lock)

    @property
    def objects(self) -> Path:
        """Contents by their keys."""
        return self.path / "objects"

    @property
    def webhook_key(self) -> Path:
        """The key without which the database's secrets of webhooks cannot be read."""
        return self.path / "webhook-secret-key"

    @property
    def objects_copied(self) -> datetime | None:
        """When the last copying that came to its end began: contents that were there then are here."""
        try:
            return datetime.fromisoformat((self.path / _COPIED).read_text(encoding="ascii").strip())
        except FileNotFoundError:
            return None

    def note_objects_copied(self, began: datetime) -> None:
        """Remember when a copying that has come to its end began."""
        _write(self.path / _COPIED, f"{began.isoformat()}\n")

    def keep_webhook_key(self, text: str) -> None:
        """Keep the key, readable by the owner only."""
        _write(self.webhook_key, text)

    def sets(self) -> list[BackupSet]:
        """Return the complete sets, the oldest first."""
        found = (BackupSet(path) for path in sorted(self.path.iterdir()) if _is_set(path))
        return [each for each in found if each.sound_since is not None]

    def new_set(self, now: datetime) -> BackupSet:
        """Make an empty set, and remove what interrupted ones left."""
        for path in self.path.iterdir():
            if _is_set(path) and BackupSet(path).sound_since is None:
                shutil.rmtree(path)
        made = BackupSet(self.path / now.astimezone(UTC).strftime(_NAME_FORMAT))
        made.wal.mkdir(mode=0o700, parents=True)
        return made

    def keep_newest(self, count: int) -> None:
        """Remove all complete sets but the newest. Contents stay: which of them are still needed, no set says."""
        for old in self.sets()[:-count]:
            # The mark first, so that half of a set is never taken for a whole one.
            (old.path / _COMPLETE).unlink()
            shutil.rmtree(old.path)

    def set_for(self, moment: datetime | None) -> BackupSet:
        """Return the newest set that can be restored to a moment; None is its end. Raises LocalError."""
        sets = self.sets()
        if not sets:
            raise LocalError(f"{self.path} has no complete backup.")
        fitting = [each for each in sets if moment is None or _since(each) <= moment]
        if not fitting:
            raise LocalError(f"The oldest backup in {self.path} can be restored to {_since(sets[0])} or later.")
        return fitting[-1]


def _is_set(path: Path) -> bool:
    try:
        datetime.strptime(path.name, _NAME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return False
    return path.is_dir()


def _since(each: BackupSet) -> datetime:
    since = each.sound_since
    assert since is not None
    return since


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
