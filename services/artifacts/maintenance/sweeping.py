"""Finishes what calls left: removes abandoned uploads and garbage, and reads what nobody has read yet.

Every step is one transaction or may be done twice, so it may be cut off anywhere, and two may run at once.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.artifacts import storing
from services.artifacts.blobs import store as blobs
from services.artifacts.maintenance import store
from services.artifacts.maintenance.model import Contents, Doomed, Swept
from services.artifacts.objects import Objects
from services.common import tracing
from services.common.database import Database
from services.common.errors import DataLoss, ServiceError, Unavailable

STEP_ROWS = 500

_log = logging.getLogger("modelstead.sweeper")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweeper:
    """Sweeps on demand and in the background. `now` returns the time with its zone.

    An upload is abandoned `upload_ttl` after its creation. Garbage stays for `garbage_grace`, so that whoever was
    reading or sending it has ended.
    """

    db: Database
    objects: Objects
    now: Callable[[], datetime]
    upload_ttl: timedelta
    garbage_grace: timedelta

    async def run(self, *, interval_s: float) -> None:
        """Sweep again and again; of all replicas one does. Raises nothing."""
        while True:
            try:
                with tracing.tracer.start_as_current_span("sweep"):
                    await self._take_turn()
            except ServiceError as error:
                _log.warning("sweep was cut off", extra={"reason": error.reason})
            except Exception:  # noqa: BLE001 -- the boundary of the task
                _log.exception("sweep failed")
            await asyncio.sleep(interval_s)

    async def sweep(self, *, upload_ttl: timedelta, garbage_grace: timedelta) -> Swept:
        """Do all that there is to do now. Raises Unavailable."""
        upload_count = await self._abandon(upload_ttl)
        verified_count = await self._verify()
        await self._collect()
        object_count = await self._remove(garbage_grace)
        return Swept(upload_count=upload_count, object_count=object_count, verified_count=verified_count)

    async def _take_turn(self) -> None:
        async with self.db.pipeline() as turn:
            if await store.try_lock(turn):
                swept = await self.sweep(upload_ttl=self.upload_ttl, garbage_grace=self.garbage_grace)
                if swept != Swept(upload_count=0, object_count=0, verified_count=0):
                    _log.info(
                        "swept",
                        extra={
                            "uploads": swept.upload_count,
                            "objects": swept.object_count,
                            "verified": swept.verified_count,
                        },
                    )

    async def _abandon(self, upload_ttl: timedelta) -> int:
        count, now = 0, self.now()
        while True:
            async with self.db.pipeline() as tx:
                rows, abandoned = await store.abandon(tx, before=now - upload_ttl, now=now, limit=STEP_ROWS)
            count += abandoned
            if rows < STEP_ROWS:
                return count

    async def _collect(self) -> None:
        while True:
            async with self.db.pipeline() as tx:
                looked_at = await blobs.collect(tx, limit=STEP_ROWS, now=self.now())
            if looked_at < STEP_ROWS:
                return

    async def _remove(self, garbage_grace: timedelta) -> int:
        count, before = 0, self.now() - garbage_grace
        while True:
            async with self.db.pipeline() as tx:
                doomed = await store.select_garbage(tx, before=before, limit=STEP_ROWS)
            gone = await self._remove_from_store(doomed)
            async with self.db.pipeline() as tx:
                await store.delete_garbage(tx, gone)
            count += len(gone)
            # What the store refuses to remove is tried again in the next sweep.
            if len(gone) < STEP_ROWS:
                return count

    async def _remove_from_store(self, doomed: list[Doomed]) -> list[Doomed]:
        for each in doomed:
            if each.has_parts:
                await self.objects.abort_multiparts(each.object_key)
        gone = set(await self.objects.remove([each.object_key for each in doomed]) if doomed else [])
        return [each for each in doomed if each.object_key in gone]

    async def _verify(self) -> int:
        count, last = 0, 0
        while True:
            async with self.db.pipeline() as tx:
                found = await store.select_unread(tx, after=last, limit=STEP_ROWS)
            for contents in found:
                count += await self._verify_one(contents)
                last = contents.blob_id
            if len(found) < STEP_ROWS:
                return count

    async def _verify_one(self, contents: Contents) -> bool:
        try:
            sha256 = await storing.read_sha256(self.objects, contents.object_key, size=contents.size)
        except DataLoss:
            _log.exception("contents that were sent directly are lost", extra={"object_key": contents.object_key})
            return False
        except Unavailable:
            if not await self.objects.answers():
                raise
            # One object that the store cannot read must not keep all garbage.
            _log.warning("contents that were sent directly are not read", extra={"object_key": contents.object_key})
            return False
        try:
            async with self.db.pipeline() as tx:
                if not await store.set_sha256(tx, contents.blob_id, sha256):
                    raise _KnownAlready
        except _KnownAlready:
            async with self.db.pipeline() as tx:
                await store.move_names(tx, contents.blob_id, sha256)
        return True


class _KnownAlready(Exception):
    """Another blob has the hash, and the transaction that found it out is void."""
