"""What can be done with files below `mlflow-artifacts:/`: names in the database, contents in the object store."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from services.artifacts import bounds, paths, storing
from services.artifacts.blobs import store as blobs
from services.artifacts.files import model, store
from services.artifacts.files.commits import Commits
from services.artifacts.files.model import Artifact
from services.artifacts.files.reading import OpenArtifact
from services.artifacts.objects import Objects
from services.artifacts.storing import Stored
from services.artifacts.trees import CHUNK_BYTES_MAX, Entry, Segments
from services.artifacts.uploads import store as uploads
from services.artifacts.uploads.model import Upload, object_key
from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound, ServiceError, Unavailable
from services.common.pages import PageTokens
from services.common.rpc.wire import Bytes

DELETED_PER_TRANSACTION = 5_000
COPIED_PER_TRANSACTION = 1_000
DISCARD_TIMEOUT_S = 5.0

# `list` means the method inside of the class.
Entries = list[Entry]

_log = logging.getLogger("modelstead.artifacts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The use-cases. `now` returns the time with its zone, `new_id` 32 hexadecimal digits.

    Paths are parsed (paths.py), and each method takes the workspace that they are in.
    """

    db: Database
    objects: Objects
    commits: Commits
    pages: PageTokens
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    async def list(
        self, workspace: str, folder: Segments, *, max_results: int | None = None, page_token: str = ""
    ) -> tuple[Entries, str | None]:
        """Return what is directly in a folder, and the token of the next page if `max_results` leaves any.

        All of it comes by name; in pages the name of a folder counts with its slash. Raises InvalidArgument.
        """
        if max_results is None:
            return await self._all(workspace, folder), None
        model.check_page_size(max_results)
        query = ["artifacts", workspace, folder]
        position = self.pages.decode(page_token, query) if page_token else None
        after = Entry(name=position[0], size=position[1]) if position else None
        entries = await self._page(workspace, folder, after=after, limit=max_results + 1)
        if len(entries) <= max_results:
            return entries, None
        last = entries[max_results - 1]
        return entries[:max_results], self.pages.encode((last.name, last.size), query)

    async def get(self, workspace: str, path: Segments) -> Artifact:
        """Return what is known of a file. Raises NotFound."""
        name = paths.join(path)
        async with self.db.pipeline() as tx:
            artifact = await store.get(tx, workspace, name)
        if artifact is None:
            raise NotFound(f"No such artifact: '{name}'")
        return artifact

    async def open(self, workspace: str, path: Segments) -> OpenArtifact:
        """Return a file to read from. Raises NotFound."""
        artifact = await self.get(workspace, path)
        return OpenArtifact(self.db, self.objects, artifact)

    async def presign(self, workspace: str, path: Segments, *, content_type: str, disposition: str) -> tuple[str, int]:
        """Return a URL from which clients can read a file for an hour, and its size.

        The store answers with the two headers. Raises NotFound, NotImplemented_.
        """
        self.objects.check_public()
        artifact = await self.get(workspace, path)
        headers = {"content-type": content_type, "content-disposition": disposition}
        return self.objects.presign_get(artifact.object_key, headers=headers), artifact.size

    async def upload(
        self, workspace: str, path: Segments, chunks: AsyncIterator[Bytes], *, size: int | None, sha256: str = ""
    ) -> None:
        """Store a file, over an older one, whole or not at all.

        Raises InvalidArgument if other than `size` bytes come, if they have another hash than `sha256`, or if a folder
        is at the path or a file above it; DataLoss, Unavailable.
        """
        bounds.check_size(size)
        expected = model.parse_sha256(sha256) if sha256 else ""
        upload = self._new_upload(workspace, path, size)
        if size is None or size > CHUNK_BYTES_MAX:
            # So that nobody sends a gigabyte to learn it; the check that counts is at the end.
            async with self.db.pipeline() as tx:
                model.refuse(await store.find_conflicts(tx, workspace, [upload.path]))
        await self.commits.begin(upload)
        try:
            stored = await storing.store(self.objects, upload.key, chunks, size=size)
            if expected and stored.sha256 != expected:
                raise InvalidArgument(f"The contents have the SHA-256 {stored.sha256}, not {expected}.")
            await self.commits.end(upload, stored, kept_key=await self._kept_key(workspace, stored))
        except BaseException:
            await asyncio.shield(self.discard(upload))
            raise

    async def link(self, workspace: str, path: Segments, *, sha256: str, size: int) -> bool:
        """Let a path lead to contents that the workspace has; return False if it has none. Raises InvalidArgument."""
        digest, name = model.parse_sha256(sha256), paths.join(path)
        async with self.db.pipeline() as tx:
            await store.reserve(tx, workspace, name)
            model.refuse(await store.find_conflicts(tx, workspace, [name]))
            blob_id = await blobs.find(tx, workspace=workspace, sha256=digest, size=size)
            if blob_id is not None:
                await store.put(tx, workspace, {name: blob_id}, now=self.now())
        return blob_id is not None

    async def copy(self, workspace: str, source: Segments, destination: Segments) -> int:
        """Copy a file, or a folder with all in it, over what is there; return how many files that were.

        A folder is copied in steps: cut off, it is done again from the start. Raises NotFound, InvalidArgument if one
        is inside the other or something in the way is a folder where the copy is a file or the other way round.
        """
        old, new = paths.join(source), paths.join(destination)
        if source[: len(destination)] == destination or destination[: len(source)] == source:
            raise InvalidArgument(f"'{old}' cannot be copied to '{new}', as one is in the other.")
        async with self.db.pipeline() as tx:
            artifact = await store.get(tx, workspace, old)
        if artifact is not None:
            return await self._copy_file(workspace, old, new)
        count, last = 0, None
        while True:
            copied, last = await self._copy_step(workspace, old, new, after=last)
            count += copied
            if copied < COPIED_PER_TRANSACTION:
                break
        if not count:
            raise NotFound(f"No such artifact: '{old}'")
        return count

    async def delete(self, workspace: str, path: Segments) -> int:
        """Delete a file, or a folder with all in it, and return how many files that were.

        Contents that lost their last name go later, so that whoever reads them can go on.
        """
        name, count = paths.join(path), 0
        if name:
            async with self.db.pipeline() as tx:
                deleted = await store.delete(tx, workspace, name)
                await blobs.release(tx, deleted)
            count += len(deleted)
        while True:
            async with self.db.pipeline() as tx:
                deleted = await store.delete_below(tx, workspace, name, limit=DELETED_PER_TRANSACTION)
                await blobs.release(tx, deleted)
            count += len(deleted)
            if len(deleted) < DELETED_PER_TRANSACTION:
                return count

    async def discard(self, upload: Upload) -> None:
        """Make what was sent for an upload garbage. Raises nothing: what fails here is done by the sweeper."""
        try:
            async with asyncio.timeout(DISCARD_TIMEOUT_S), self.db.pipeline() as tx:
                now = self.now()
                if not await uploads.discard(tx, upload.upload_id, now=now):
                    # Swept while it was sent: what came after that has no row that names it.
                    await blobs.discard_stray(tx, upload.key, has_parts=upload.has_parts, now=now)
        except (ServiceError, TimeoutError):
            _log.warning("upload left to the sweeper", extra={"upload_id": upload.upload_id})

    def _new_upload(self, workspace: str, path: Segments, size: int | None) -> Upload:
        return Upload(
            upload_id=self.new_id(),
            workspace=workspace,
            path=paths.join(path),
            object_key=object_key(workspace, self.new_id()),
            has_parts=bounds.in_parts(size),
            store_upload_id=None,
            size=size,
            create_time=self.now(),
        )

    async def _kept_key(self, workspace: str, stored: Stored) -> str | None:
        """Return the key of an older object of the same contents, if it can still be read: backups have that one for
        certain.
        """
        async with self.db.reading() as tx:
            key = await blobs.find_key(tx, workspace, stored.sha256)
        try:
            return key if key and await storing.is_whole(self.objects, key, stored) else None
        except Unavailable:
            # What was stored just now is there.
            return None

    async def _all(self, workspace: str, folder: Segments) -> Entries:
        entries: Entries = []
        while True:
            last = entries[-1] if entries else None
            page = await self._page(workspace, folder, after=last, limit=model.PAGE_SIZE_MAX)
            entries += page
            if len(page) < model.PAGE_SIZE_MAX:
                return sorted(entries, key=lambda entry: entry.name)

    async def _page(self, workspace: str, folder: Segments, *, after: Entry | None, limit: int) -> Entries:
        async with self.db.pipeline() as tx:
            return await store.list_folder(tx, workspace, paths.join(folder), after=after, limit=limit)

    async def _copy_file(self, workspace: str, old: str, new: str) -> int:
        async with self.db.pipeline() as tx:
            await store.reserve(tx, workspace, new)
            model.refuse(await store.find_conflicts(tx, workspace, [new]))
            blob_id = await store.lock_contents(tx, workspace, old)
            if blob_id is None:
                raise NotFound(f"No such artifact: '{old}'")
            await store.put(tx, workspace, {new: blob_id}, now=self.now())
        return 1

    async def _copy_step(self, workspace: str, old: str, new: str, *, after: str | None) -> tuple[int, str | None]:
        async with self.db.pipeline() as tx:
            await store.reserve(tx, workspace, new)
            found = await store.select_below(tx, workspace, old, after=after, limit=COPIED_PER_TRANSACTION)
            names = {new + path.removeprefix(old): blob_id for path, blob_id in found}
            for name in names:
                paths.check_length(name)
            model.refuse(await store.find_conflicts(tx, workspace, list(names)))
            await store.put(tx, workspace, names, now=self.now())
        return len(found), found[-1][0] if found else None
