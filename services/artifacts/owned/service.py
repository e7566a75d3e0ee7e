"""What can be done with the files of runs, logged models and model versions by their ids, wherever they are."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.artifacts import paths
from services.artifacts.external.files import SignedUrl
from services.artifacts.external.stores import ExternalStores
from services.artifacts.owned import model
from services.artifacts.owned.model import Owner, Owners, Versions
from services.artifacts.trees import Entry, OpenFile, Segments, Tree
from services.common import artifact_stores
from services.common.auth import Asker
from services.common.errors import InvalidArgument, NotFound, ServiceError
from services.common.rpc.wire import Bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A folder of an owner: the URI of the owner's root, and the entries, named by their path below that root."""

    root_uri: str
    entries: list[Entry]


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnedArtifacts:
    """The use-cases. `managed` is what lies below `mlflow-artifacts:/`.

    Paths are as clients write them, below the owner's root. All methods raise InvalidArgument for a path that could
    lead elsewhere and for artifacts in a store that is not allowed, what tracking says of an owner or the registry of a
    version, and Unavailable.
    """

    owners: Owners
    versions: Versions
    managed: Tree
    external: ExternalStores

    async def list(self, owner: Owner, path: str, asker: Asker) -> Listing:
        """Return what is directly in a folder; nothing if there is none."""
        folder = paths.parse(path)
        uri = await self.owners.artifact_uri(owner, asker)
        tree, root = self._place(uri)
        entries = await tree.list((*root, *folder))
        below = [Entry(name=paths.join((*folder, entry.name)), size=entry.size) for entry in entries]
        return Listing(root_uri=uri, entries=below)

    async def open(self, owner: Owner, path: str, asker: Asker) -> tuple[OpenFile, str]:
        """Return a file to read from, and its name. Raises NotFound."""
        segments = paths.parse_file(path)
        tree, root = self._place(await self.owners.artifact_uri(owner, asker))
        return await _existing(tree, root, segments), segments[-1]

    async def open_of_model(self, model_id: str, path: str, asker: Asker) -> tuple[OpenFile, str]:
        """Return a logged model's file as `open` does; a path is needed."""
        if not path:
            raise InvalidArgument('Request must include the "artifact_file_path" query parameter.')
        return await self.open(model.logged_model(model_id), path, asker)

    async def open_of_version(self, name: str, version: str, path: str, asker: Asker) -> tuple[OpenFile, str]:
        """Return a file of a version of a registered model as `open` does."""
        segments = paths.parse_file(path)
        uri = await self.versions.artifact_uri(name, version, asker)
        tree, root = await self._source(uri, asker)
        return await _existing(tree, root, segments), segments[-1]

    async def exist(self, uri: str, asker: Asker) -> bool:
        """Return whether there is anything where a version's files would be, also by `runs:/…` of no known run."""
        try:
            tree, path = await self._source(uri, asker)
        except ServiceError as error:
            if error.reason != NotFound.reason:
                raise
            return False
        return await tree.has(path)

    async def upload(
        self, run_id: str, path: str, chunks: AsyncIterator[Bytes], *, size: int | None, asker: Asker
    ) -> None:
        """Store a file of 1 byte to 10 MiB, over an older one, whole or not at all."""
        if not run_id:
            raise InvalidArgument("Request must specify run_id or run_uuid.")
        if not path:
            raise InvalidArgument("Request must specify path.")
        segments = paths.parse_file(path)
        if size is not None and size > model.UPLOAD_BYTES_MAX:
            raise _too_large()
        bounded = _bounded(chunks)
        first = await anext(bounded, b"")
        if not first:
            raise InvalidArgument("Request must specify data.")
        tree, root = self._place(await self.owners.artifact_uri(model.run(run_id), asker))
        await tree.write((*root, *segments), _chained(first, bounded), size=size)

    async def presign_download(self, run_id: str, path: str, *, expires_s: int, asker: Asker) -> tuple[SignedUrl, int]:
        """Return a URL from which a file can be read, and its size. Raises NotFound, NotImplemented_."""
        segments = paths.parse_file(path)
        model.check_expiration(expires_s)
        uri = await self.owners.artifact_uri(model.run(run_id), asker)
        model.check_not_proxied(uri, transfer=model.DOWNLOAD)
        tree, root = self.external.resolve(uri)
        signed = await tree.sign((*root, *segments), expires_s=expires_s, for_upload=False)
        file = await _existing(tree, root, segments)
        return signed, file.size

    async def presign_upload(self, run_id: str, model_id: str, path: str, *, expires_s: int, asker: Asker) -> SignedUrl:
        """Return a URL to which a file of the one owner named can be sent. Raises NotImplemented_."""
        owner = model.one_of(run_id, model_id)
        segments = paths.parse_file(path)
        model.check_expiration(expires_s)
        uri = await self.owners.artifact_uri(owner, asker)
        model.check_not_proxied(uri, transfer=model.UPLOAD)
        tree, root = self.external.resolve(uri)
        return await tree.sign((*root, *segments), expires_s=expires_s, for_upload=True)

    async def _source(self, uri: str, asker: Asker) -> tuple[Tree, Segments]:
        """Return where the files of a version are, which may be named by their run."""
        named = model.parse_run_uri(uri)
        if named is None:
            return self._place(uri)
        run_id, path = named
        below = paths.parse(path)
        tree, root = self._place(await self.owners.artifact_uri(model.run(run_id), asker))
        return tree, (*root, *below)

    def _place(self, uri: str) -> tuple[Tree, Segments]:
        path = artifact_stores.managed_path(uri)
        return self.external.resolve(uri) if path is None else (self.managed, path)


async def _existing(tree: Tree, root: Segments, segments: Segments) -> OpenFile:
    file = await tree.open((*root, *segments))
    if file is None:
        raise NotFound(f"No such artifact: '{paths.join(segments)}'")
    return file


async def _bounded(chunks: AsyncIterator[Bytes]) -> AsyncIterator[Bytes]:
    """Yield the chunks that are not empty. Raises InvalidArgument before there are more than 10 MiB."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > model.UPLOAD_BYTES_MAX:
            raise _too_large()
        if chunk:
            yield chunk


async def _chained(first: Bytes, rest: AsyncIterator[Bytes]) -> AsyncIterator[Bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _too_large() -> InvalidArgument:
    return InvalidArgument("Artifact size is too large. Max size is 10MB.")
