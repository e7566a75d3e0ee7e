"""A file while it is read: its contents are found once, and checked against their hash on the way."""

import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.artifacts.files import store
from services.artifacts.files.model import Artifact
from services.artifacts.objects import Objects
from services.common.database import Database
from services.common.errors import DataLoss, Unavailable

_log = logging.getLogger("modelstead.artifacts")


@dataclass(frozen=True, slots=True)
class OpenArtifact:
    """A file as trees.OpenFile wants it."""

    db: Database
    objects: Objects
    artifact: Artifact

    @property
    def size(self) -> int:
        return self.artifact.size

    @property
    def etag(self) -> str:
        return self.artifact.etag

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield bytes from `start` on, in chunks of at most 1 MiB.

        The last chunk of a whole file is withheld until the hash fits. Raises DataLoss, and Unavailable also if the
        file was deleted so long ago that its contents went meanwhile.
        """
        artifact, left = self.artifact, length
        if not length:
            return
        hashed = hashlib.sha256() if length == artifact.size and artifact.sha256 is not None else None
        chunks = self.objects.read(
            artifact.object_key, start, length, size=artifact.size, on_chunk=None if hashed is None else hashed.update
        )
        try:
            async for chunk in chunks:
                left -= len(chunk)
                if hashed is not None and not left and hashed.hexdigest() != artifact.sha256:
                    raise DataLoss(f"The contents of '{artifact.path}' are not what was stored.")
                yield chunk
        except DataLoss:
            await self._complain()
            raise

    async def _complain(self) -> None:
        async with self.db.pipeline() as tx:
            is_kept = await store.has_object(tx, self.artifact.object_key)
        if not is_kept:
            raise Unavailable(f"'{self.artifact.path}' was replaced or deleted while it was read; read it again.")
        _log.error("contents are lost", extra={"object_key": self.artifact.object_key})
