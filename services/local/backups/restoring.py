"""Restoring a backup: contents first, then the database, so that nothing is named before it is there."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.local import waiting
from services.local.backups import database, objects
from services.local.backups.folder import BackupFolder, BackupSet
from services.local.backups.source import Bucket
from services.local.cluster import Cluster
from services.local.data_dir import DataDir
from services.local.errors import LocalError
from services.local.object_store import ACCESS_KEY, ObjectStore
from services.local.plan import BUCKET, WEBHOOK_KEY
from services.local.process import Process

Say = Callable[[str], None]

_READY_TIMEOUT_S = 120.0
_NOT_REACHED = "recovery ended before configured recovery target was reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """Restores into a new data folder. One that was cut off is done again, from its begin."""

    folder: BackupFolder
    data_dir: DataDir
    say: Say
    pause: waiting.Pause = time.sleep

    def run(self, to: datetime | None) -> None:
        """Restore what was committed until a moment; None is the last that there is. Raises LocalError."""
        chosen = self.folder.set_for(to)
        self._begin()
        self._warn_of_contents(chosen, to)
        self._restore_objects()
        self._restore_database(chosen, to)
        self.data_dir.end_restoring()

    def _begin(self) -> None:
        cluster = Cluster(self.data_dir, pause=self.pause)
        if cluster.folder.exists() and not self.data_dir.is_being_restored:
            raise LocalError(f"{self.data_dir.path} has a database already: name a new folder with --data-dir.")
        self.data_dir.begin_restoring()
        if self.folder.webhook_key.exists():
            self.data_dir.keep_secret(WEBHOOK_KEY, self.folder.webhook_key.read_text(encoding="utf-8").strip())

    def _warn_of_contents(self, chosen: BackupSet, to: datetime | None) -> None:
        if not any(chosen.wal.iterdir()):
            # It can be restored to its own moment alone, after which contents were copied.
            return
        copied = self.folder.objects_copied
        if copied is None:
            self.say("No contents were ever copied to the end: `modelstead fsck` will name what is missing.")
        elif to is None or to > copied:
            self.say(
                f"Contents were copied last at {copied:%Y-%m-%d %H:%M:%S} UTC: of files that came later the names are "
                "restored, and `modelstead fsck` lists those whose contents are missing."
            )

    def _restore_objects(self) -> None:
        store, began = ObjectStore(self.data_dir), time.monotonic()
        store.prepare()
        server = Process(store.child())
        try:
            waiting.until(lambda: server.ended or store.is_ready(), timeout_s=_READY_TIMEOUT_S, pause=self.pause)
            if server.ended or not store.is_ready():
                raise LocalError(f"The S3 server did not start. It last logged:\n{server.last_lines()}")
            bucket = Bucket(
                endpoint=f"http://{store.address}", name=BUCKET, access_key=ACCESS_KEY, secret_key=store.secret_key
            )
            copied = objects.copy_in(self.folder.objects, bucket, tick=lambda: self.pause(0))
        finally:
            server.stop()
        self.say(f"Objects: {copied.count:,} of {copied.total:,} restored in {time.monotonic() - began:.1f} s.")

    def _restore_database(self, chosen: BackupSet, to: datetime | None) -> None:
        began = time.monotonic()
        database.verify(chosen, pause=self.pause)
        try:
            Cluster(self.data_dir, pause=self.pause).recover(chosen.base, database.recovery_settings(chosen, to))
        except LocalError as error:
            if _NOT_REACHED in str(error):
                raise LocalError(
                    f"The backup {chosen.path.name} ends before {to}: nothing was received that was committed later. "
                    "Without --to it is restored to its end."
                ) from error
            raise
        moment = "its end" if to is None else str(to)
        self.say(f"Database: {chosen.path.name} recovered to {moment} in {time.monotonic() - began:.1f} s.")
