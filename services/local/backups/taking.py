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
        if self.postgres is not None:
            self._base(self.postgres, self.folder.new_set(_now()))
        self._copy(always=True)
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
            self._base(postgres, into)
            self._copy(always=True)
            self.folder.keep_newest(self.keep)
            self.say("Following. Ctrl-C ends it; what was received stays restorable.")
            receives, due = True, time.monotonic() + _COPY_EVERY_S
            while True:
                if receives is not (receives := receiver.tend()):
                    self.say("Receiving WAL again." if receives else f"No WAL is received: {receiver.complaint}")
                if time.monotonic() >= due:
                    due = self._copy_if_there()
                self.pause(_TEND_EVERY_S)

    def _base(self, postgres: Postgres, into: BackupSet) -> None:
        began = time.monotonic()
        into.complete(database.take_base(postgres, into, pause=self.pause))
        size = database.size_of(into.base)
        self.say(f"Base backup {into.path.name}: {_amount(size)} in {time.monotonic() - began:.1f} s.")

    def _copy(self, *, always: bool = False) -> None:
        began, started = _now(), time.monotonic()
        copied = objects.copy_out(self.bucket, self.folder.objects)
        self.folder.note_objects_copied(began)
        if copied.count or always:
            took_s = time.monotonic() - started
            self.say(
                f"Objects: {copied.count:,} of {copied.total:,} copied, {_amount(copied.bytes)} in {took_s:.1f} s."
            )

    def _copy_if_there(self) -> float:
        """Copy, and return when to do so again: while the store is away too, for WAL is received all the same."""
        try:
            self._copy()
        except LocalError as error:
            self.say(str(error))
        return time.monotonic() + _COPY_EVERY_S


def _now() -> datetime:
    return datetime.now(UTC)


def _amount(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
