"""Taking backups: the database first, then contents.

In this order a row that is restored has its contents. They were stored before the row was committed, under a key of
their own, and are removed only after the row is gone, when `MODELSTEAD_GARBAGE_GRACE_S` (an hour) has passed. So a
copying that begins after a moment, and ends before the grace does, finds all that the rows of that moment name, and
what came later costs nothing but space. In the other order whatever was uploaded between the two would be named by a
row and be nowhere.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.local import waiting
from services.local.backups import database, objects
from services.local.backups.folder import BackupFolder, BackupSet
from services.local.backups.source import Bucket, Postgres
from services.local.errors import LocalError

Say = Callable[[str], None]

_COPY_EVERY_S = 20.0
_TEND_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """Takes backups of a platform. Without `postgres` of the contents alone, for whose database others care."""

    folder: BackupFolder
    postgres: Postgres | None
    bucket: Bucket
    keep: int
    say: Say
    pause: waiting.Pause = time.sleep

    def once(self) -> None:
        """Take one that can be restored to its own moment. Raises LocalError."""
        if self.postgres is None:
            self._copy(self.pause, always=True)
            return
        into = self.folder.new_set(_now())
        sound_since = self._base(self.postgres, into, self.pause)
        self._copy(self.pause, always=True)
        # Not before: a complete set is one that is restored, and for which older ones are removed.
        into.complete(sound_since)
        self.folder.keep_newest(self.keep)

    def follow(self) -> None:
        """Take one that can be restored to any moment since, until `pause` raises. Raises LocalError.

        Where Postgres has removed WAL before it was received, it begins another one.
        """
        assert self.postgres is not None
        while True:
            try:
                self._follow(self.postgres, self.folder.new_set(_now()))
            except database.Gap as gap:
                self.say(f"{gap} Taking another base backup.")

    def _follow(self, postgres: Postgres, into: BackupSet) -> None:
        # The WAL first, so that there is none between it and the base backup.
        with database.receiving(postgres, into, pause=self.pause) as receiver:
            receives = True

            def pause(seconds: float) -> None:
                nonlocal receives
                if receives is not (receives := receiver.tend()):
                    self.say("Receiving WAL again." if receives else f"No WAL is received: {receiver.complaint}")
                self.pause(seconds)

            # Complete before its contents are copied, for it grows: from when these are is told when it is restored.
            into.complete(self._base(postgres, into, pause))
            self._copy(pause, always=True)
            self.folder.keep_newest(self.keep)
            self.say("Following. Ctrl-C ends it; what was received stays restorable.")
            due = time.monotonic() + _COPY_EVERY_S
            while True:
                if time.monotonic() >= due:
                    due = self._copy_if_there(pause)
                pause(_TEND_EVERY_S)

    def _base(self, postgres: Postgres, into: BackupSet, pause: waiting.Pause) -> datetime:
        began = time.monotonic()
        sound_since = database.take_base(postgres, into, pause=pause)
        size = database.size_of(into.base)
        self.say(f"Base backup {into.path.name}: {_amount(size)} in {time.monotonic() - began:.1f} s.")
        return sound_since

    def _copy(self, pause: waiting.Pause, *, always: bool = False) -> None:
        began, started = _now(), time.monotonic()
        copied = objects.copy_out(self.bucket, self.folder.objects, tick=lambda: pause(0))
        self.folder.note_objects_copied(began)
        if copied.count or always:
            took_s = time.monotonic() - started
            self.say(
                f"Objects: {copied.count:,} of {copied.total:,} copied, {_amount(copied.bytes)} in {took_s:.1f} s."
            )

    def _copy_if_there(self, pause: waiting.Pause) -> float:
        """Copy, and return when to do so again: while the store is away too, for WAL is received all the same."""
        try:
            self._copy(pause)
        except database.Gap:
            raise
        except LocalError as error:
            self.say(str(error))
        return time.monotonic() + _COPY_EVERY_S


def _now() -> datetime:
    return datetime.now(UTC)


def _amount(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
