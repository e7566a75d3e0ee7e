"""Begins and ends the uploads that pass through the service: those at one time share their transactions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.artifacts import paths
from services.artifacts.blobs import store as blobs
from services.artifacts.blobs.store import NewContents
from services.artifacts.files import model, store
from services.artifacts.storing import Stored
from services.artifacts.uploads import store as uploads
from services.artifacts.uploads.model import Upload
from services.common.database import Database, Driver
from services.common.errors import ServiceError, Unavailable
from services.common.group_commit import GroupCommit, Outcome

# A transaction locks each folder above each of its names, and Postgres has room for some thousand locks.
_LOCKS_PER_TRANSACTION = 512
_WAITING_LOCKS_MAX = 64 * _LOCKS_PER_TRANSACTION
_COMMITTERS = 2


@dataclass(frozen=True, slots=True)
class _Begin:
    """An upload of which nothing was sent to the object store yet."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class _End:
    """An upload whose contents the object store has shown to have; at `kept_key` it has them from before too."""

    upload: Upload
    stored: Stored
    kept_key: str | None


_Step = _Begin | _End
# By upload.
_Refused = dict[str, ServiceError]


class Commits:
    """What `begin` and `end` tell is committed when they return. `now` returns the time with its zone."""

    def __init__(self, *, db: Database, now: Callable[[], datetime]) -> None:
        self._db = db
        self._now = now
        self._group_commit = GroupCommit(
            self._commit,
            weight=_weight,
            group_weight_max=_LOCKS_PER_TRANSACTION,
            waiting_weight_max=_WAITING_LOCKS_MAX,
            committers=_COMMITTERS,
            what="files",
        )

    async def begin(self, upload: Upload) -> None:
        """Note an upload before anything is sent to its key, so that whatever comes of it is found."""
        await self._group_commit.submit(_Begin(upload))

    async def end(self, upload: Upload, stored: Stored, *, kept_key: str | None) -> None:
        """Give what was stored its name, over an older one, and forget the upload.

        Files of the same contents keep their object if that is at `kept_key`, and get the new one otherwise.
        Raises InvalidArgument if a folder is at the path or a file above it, and Unavailable if the upload was taken
        for abandoned meanwhile.
        """
        step = _End(upload, stored, kept_key)
        try:
            await self._group_commit.submit(step)
        except _Related:
            [outcome] = await self._commit([step])
            if outcome is not None:
                raise outcome from None

    async def _commit(self, steps: Sequence[_Step]) -> Sequence[Outcome]:
        begins = [step.upload for step in steps if isinstance(step, _Begin)]
        ends = [step for step in steps if isinstance(step, _End)]
        refused: _Refused = {}
        async with self._db.pipeline() as tx:
            if begins:
                await uploads.add_many(tx, begins)
            for workspace in sorted({end.upload.workspace for end in ends}):
                refused |= await self._end(tx, workspace, [end for end in ends if end.upload.workspace == workspace])
        return [refused.get(step.upload.upload_id) if isinstance(step, _End) else None for step in steps]

    async def _end(self, tx: Driver, workspace: str, ends: Sequence[_End]) -> _Refused:
        """End uploads of one workspace; return by upload why some of them were not ended and left no trace."""
        refused: _Refused = {}
        for end, is_unrelated in zip(ends, model.unrelated(end.upload.path for end in ends), strict=True):
            if not is_unrelated:
                refused[end.upload.upload_id] = _Related()
        names = [end.upload.path for end in _but(ends, refused)]
        await store.reserve(tx, workspace, *names)
        for conflict in await store.find_conflicts(tx, workspace, names):
            for end in _but(ends, refused):
                if conflict.concerns(end.upload.path):
                    refused[end.upload.upload_id] = conflict.refusal
        ended = await uploads.end_many(tx, [end.upload.upload_id for end in _but(ends, refused)])
        for end in _but(ends, refused):
            if end.upload.upload_id not in ended:
                refused[end.upload.upload_id] = _took_too_long(end.upload)
        await self._name(tx, workspace, _but(ends, refused))
        return refused

    async def _name(self, tx: Driver, workspace: str, ends: Sequence[_End]) -> None:
        contents = [
            NewContents(
                object_key=end.upload.key, size=end.stored.size, sha256=end.stored.sha256, kept_key=end.kept_key
            )
            for end in ends
        ]
        now = self._now()
        blob_ids = await blobs.add_many(tx, workspace, contents, now=now)
        await store.put(tx, workspace, {end.upload.path: blob_ids[end.upload.key] for end in ends}, now=now)


class _Related(ServiceError):
    """The name of a file is that of another one in the same transaction, or above or below it: it needs its own."""

    def __init__(self) -> None:
        super().__init__("to be ended in another transaction")


def _weight(step: _Step) -> int:
    return 1 if isinstance(step, _Begin) else 1 + len(paths.ancestors(step.upload.path))


def _but(ends: Sequence[_End], refused: _Refused) -> list[_End]:
    return [end for end in ends if end.upload.upload_id not in refused]


def _took_too_long(upload: Upload) -> Unavailable:
    return Unavailable(f"Sending '{upload.path}' took too long; send it again.")
