"""The files of this service in the form of any other store."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.artifacts import paths
from services.artifacts.files.reading import OpenArtifact
from services.artifacts.files.service import Files
from services.artifacts.trees import Entry, Segments
from services.common.errors import NotFound
from services.common.rpc.wire import Bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagedTree:
    """What is below `mlflow-artifacts:/` in a workspace, as trees.Tree."""

    files: Files
    workspace: str

    async def list(self, path: Segments) -> list[Entry]:
        """Return what is directly in a folder, by name; nothing if there is none."""
        entries, _ = await self.files.list(self.workspace, path)
        return entries

    async def has(self, path: Segments) -> bool:
        """Return whether a file is at the path, or a folder with something in it."""
        entries, _ = await self.files.list(self.workspace, path, max_results=1)
        return bool(entries) or await self.open(path) is not None

    async def open(self, path: Segments) -> OpenArtifact | None:
        """Return the file at a path; None if there is none."""
        try:
            return await self.files.open(self.workspace, path)
        except NotFound:
            return None

    async def write(self, path: Segments, chunks: AsyncIterator[Bytes], *, size: int | None) -> None:
        """Store a file, over an older one, whole or not at all. Raises InvalidArgument, DataLoss, Unavailable."""
        paths.check_length(paths.join(path))
        await self.files.upload(self.workspace, path, chunks, size=size)

    async def delete(self, path: Segments) -> int:
        """Delete a file, or a folder with all in it, and return how many files that were."""
        return await self.files.delete(self.workspace, path)
