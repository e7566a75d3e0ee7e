"""What operators can do with what is stored."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from services.artifacts.external.stores import ExternalStores
from services.artifacts.files.model import DEFAULT_WORKSPACE
from services.artifacts.files.service import Files
from services.artifacts.maintenance.checking import Check
from services.artifacts.maintenance.model import Finding, Swept, Totals
from services.artifacts.maintenance.sweeping import Sweeper
from services.artifacts.trees import Segments
from services.common import artifact_stores
from services.common.errors import InvalidArgument

TTL_S_MAX = 10 * 365 * 24 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Maintenance:
    """The use-cases. All of them raise Unavailable, and may be called again after they were cut off."""

    files: Files
    sweeper: Sweeper
    external: ExternalStores

    async def delete_tree(self, artifact_uri: str) -> int:
        """Delete all that is below an artifact URI; return how many files that were.

        Raises InvalidArgument for a URI in no allowed store, and for the root of one, which belongs to nobody alone.
        """
        path = artifact_stores.managed_path(artifact_uri)
        if path is not None:
            _refuse_root(path, artifact_uri)
            return await self.files.delete(DEFAULT_WORKSPACE, path)
        tree, path = self.external.resolve(artifact_uri)
        _refuse_root(path, artifact_uri)
        return await tree.delete(path)

    def check(self, *, deep: bool) -> AsyncIterator[Finding | Totals]:
        """Yield what in the object store does not fit the records, then what was compared."""
        return Check(db=self.files.db, objects=self.files.objects, deep=deep).run()

    async def sweep(self, *, ttl_s: int | None) -> Swept:
        """Sweep at once; with a `ttl_s` garbage of any age too, which takes it from whoever is reading or copying it.

        Raises InvalidArgument.
        """
        if ttl_s is not None and not 0 <= ttl_s <= TTL_S_MAX:
            raise InvalidArgument(f"'ttl_s' must be from 0 to {TTL_S_MAX}, not {ttl_s}")
        if ttl_s is None:
            upload_ttl, garbage_grace = self.sweeper.upload_ttl, self.sweeper.garbage_grace
        else:
            upload_ttl, garbage_grace = timedelta(seconds=ttl_s), timedelta(0)
        return await self.sweeper.sweep(upload_ttl=upload_ttl, garbage_grace=garbage_grace)


def _refuse_root(path: Segments, artifact_uri: str) -> None:
    if not path:
        raise InvalidArgument(f"'{artifact_uri}' is the root of a store and is not deleted as a whole.")
