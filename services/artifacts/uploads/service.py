"""Uploads that clients send directly to the object store, by URLs that are signed here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.artifacts import bounds, paths, storing
from services.artifacts.files import model as files_model
from services.artifacts.files import store as files_store
from services.artifacts.objects import Objects, S3Refusal, Stat
from services.artifacts.trees import Segments
from services.artifacts.uploads import model, store
from services.artifacts.uploads.model import Target, Upload
from services.common.database import Database
from services.common.errors import DataLoss, InvalidArgument, NotFound


@dataclass(frozen=True, kw_only=True, slots=True)
class Uploads:
    """The use-cases. `now` returns the time with its zone, `new_id` 32 hexadecimal digits.

    All of them raise NotImplemented_ if clients cannot reach the object store, and Unavailable.
    """

    db: Database
    objects: Objects
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def create(self, workspace: str, path: Segments, *, size: int) -> tuple[Upload, Target]:
        """Create an upload in one piece of `size` bytes. Raises InvalidArgument."""
        bounds.check_size(size)
        if bounds.in_parts(size):
            raise InvalidArgument(f"{size} bytes are too many for one piece: send them in parts.")
        upload = await self._add(workspace, path, size=size, has_parts=False)
        return upload, Target(part_number=1, url=self.objects.presign_put(upload.key))

    async def complete(self, workspace: str, upload_id: str) -> None:
        """Make the file of the piece that was sent. Again does nothing.

        Raises NotFound, InvalidArgument if it was not sent, is of another size, or cannot have its name.
        """
        upload = await self._get(workspace, upload_id, has_parts=False)
        if upload.object_key is None:
            return
        stat = await self.objects.stat(upload.key)
        if stat is None:
            raise InvalidArgument("Nothing was sent to the URL of this upload.")
        if stat.size != upload.size:
            raise InvalidArgument(f"{stat.size} bytes were sent, and {upload.size} were announced.")
        await self._commit(upload, stat)

    async def create_multipart(self, workspace: str, path: Segments, *, part_count: int) -> tuple[Upload, list[Target]]:
        """Create an upload in parts, with a URL for each. Raises InvalidArgument."""
        model.check_part_count(part_count)
        upload = await self._add(workspace, path, size=None, has_parts=True)
        store_upload_id = await self.objects.create_multipart(upload.key)
        async with self.db.pipeline() as tx:
            await store.set_store_upload_id(tx, upload.upload_id, store_upload_id)
        return upload, self._targets(upload.key, store_upload_id, range(1, part_count + 1))

    async def presign_parts(self, workspace: str, upload_id: str, numbers: Sequence[int]) -> list[Target]:
        """Return new URLs for parts. Raises NotFound, InvalidArgument."""
        model.check_part_numbers(numbers)
        upload = await self._get(workspace, upload_id, has_parts=True)
        if upload.object_key is None or upload.store_upload_id is None:
            raise _no_upload(upload_id)
        return self._targets(upload.object_key, upload.store_upload_id, numbers)

    async def complete_multipart(
        self, workspace: str, path: Segments, upload_id: str, parts: Sequence[tuple[int, str]]
    ) -> None:
        """Make the file of the parts that were sent, given as (number, ETag). Again does nothing.

        Raises NotFound, InvalidArgument if they were not sent so or cannot have their name.
        """
        model.check_part_numbers([number for number, _ in parts])
        upload = await self._get(workspace, upload_id, has_parts=True)
        if upload.path != paths.join(path) or upload.store_upload_id is None:
            raise _no_upload(upload_id)
        if upload.object_key is None:
            return
        in_order = sorted((number, etag.strip('"')) for number, etag in parts)
        try:
            await self.objects.complete_multipart(upload.key, upload.store_upload_id, in_order)
        except S3Refusal as refusal:
            raise InvalidArgument(f"The object store refuses these parts: {refusal}.") from refusal
        # Also if the store knows of no such upload: a call before may have been cut off after it was completed.
        stat = await self.objects.stat(upload.key)
        if stat is None:
            raise _no_upload(upload_id)
        if not storing.is_made_of(stat.etag, [etag for _, etag in in_order]):
            raise DataLoss("The object store has other contents than these parts; send them again.")
        await self._commit(upload, stat)

    async def abort_multipart(self, workspace: str, path: Segments, upload_id: str) -> None:
        """Remove an upload and what was sent for it; nothing if there is none or it was completed."""
        self.objects.check_public()
        async with self.db.pipeline() as tx:
            upload = await store.get(tx, upload_id)
            if upload is not None and (upload.workspace, upload.path) == (workspace, paths.join(path)):
                await store.discard(tx, upload_id, now=self.now())

    async def _add(self, workspace: str, path: Segments, *, size: int | None, has_parts: bool) -> Upload:
        self.objects.check_public()
        upload = Upload(
            upload_id=self.new_id(),
            workspace=workspace,
            path=paths.join(path),
            object_key=model.object_key(workspace, self.new_id()),
            has_parts=has_parts,
            store_upload_id=None,
            size=size,
            create_time=self.now(),
        )
        async with self.db.pipeline() as tx:
            files_model.refuse(await files_store.find_conflicts(tx, workspace, [upload.path]))
            await store.add(tx, upload)
        return upload

    async def _get(self, workspace: str, upload_id: str, *, has_parts: bool) -> Upload:
        self.objects.check_public()
        async with self.db.pipeline() as tx:
            upload = await store.get(tx, upload_id)
        if upload is None or (upload.workspace, upload.has_parts) != (workspace, has_parts):
            raise _no_upload(upload_id)
        return upload

    async def _commit(self, upload: Upload, stat: Stat) -> None:
        async with self.db.pipeline() as tx:
            if await store.complete(tx, upload.upload_id):
                files_model.refuse(await store.name(tx, upload, size=stat.size, now=self.now()))
            elif await store.get(tx, upload.upload_id) is None:
                raise _no_upload(upload.upload_id)

    def _targets(self, key: str, store_upload_id: str, numbers: Sequence[int]) -> list[Target]:
        return [
            Target(part_number=number, url=self.objects.presign_part(key, store_upload_id, number))
            for number in numbers
        ]


def _no_upload(upload_id: str) -> NotFound:
    return NotFound(f"There is no upload with id={upload_id}")
