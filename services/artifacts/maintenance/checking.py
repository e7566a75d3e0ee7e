"""Compares the records with the object store, in one pass over both in the order of their keys."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.artifacts import storing
from services.artifacts.maintenance import store
from services.artifacts.maintenance.model import Contents, Finding, Problem, Totals
from services.artifacts.objects import Objects, Stat
from services.common.database import Database
from services.common.errors import DataLoss

PAGE_ROWS = 1000
PATHS_MAX = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One pass. Uploads go on meanwhile: what does not fit is looked at once more before it is reported."""

    db: Database
    objects: Objects
    deep: bool

    async def run(self) -> AsyncIterator[Finding | Totals]:
        """Yield what does not fit, then the totals. Raises Unavailable."""
        object_count = byte_count = 0
        async for contents, stat in _pairs(self._records(), self.objects.stats()):
            finding = await self._compare(contents, stat)
            if finding is not None:
                yield finding
            if contents is not None:
                object_count += 1
                byte_count += contents.size
        yield Totals(object_count=object_count, byte_count=byte_count)

    async def _records(self) -> AsyncIterator[Contents]:
        last = ""
        while True:
            async with self.db.pipeline() as tx:
                page = await store.select_contents(tx, after=last, limit=PAGE_ROWS)
            for contents in page:
                yield contents
                last = contents.object_key
            if len(page) < PAGE_ROWS:
                return

    async def _compare(self, contents: Contents | None, stat: Stat | None) -> Finding | None:
        if contents is None:
            assert stat is not None, "nothing to compare"
            return await self._orphan(stat)
        if stat is None:
            stat = await self.objects.stat(contents.object_key)
        problem = _problem(contents, stat)
        if problem is None and self.deep and contents.sha256 is not None:
            problem = await self._read(contents)
        if problem is None or not await self._is_known(contents.object_key):
            return None
        async with self.db.pipeline() as tx:
            paths = await store.select_paths(tx, contents.blob_id, limit=PATHS_MAX)
        return Finding(problem=problem, object_key=contents.object_key, paths=paths, detail=_detail(contents, stat))

    async def _orphan(self, stat: Stat) -> Finding | None:
        if await self._is_known(stat.key) or await self.objects.stat(stat.key) is None:
            return None
        return Finding(problem=Problem.ORPHANED, object_key=stat.key, detail=f"no record names its {stat.size} bytes")

    async def _read(self, contents: Contents) -> Problem | None:
        try:
            found = await storing.read_sha256(self.objects, contents.object_key, size=contents.size)
            is_same = found == contents.sha256
        except DataLoss:
            is_same = False
        return None if is_same else Problem.CHANGED

    async def _is_known(self, object_key: str) -> bool:
        async with self.db.pipeline() as tx:
            return await store.is_known(tx, object_key)


def _problem(contents: Contents, stat: Stat | None) -> Problem | None:
    if stat is None:
        return Problem.MISSING
    if stat.size < contents.size:
        return Problem.TRUNCATED
    return Problem.CHANGED if stat.size > contents.size else None


def _detail(contents: Contents, stat: Stat | None) -> str:
    found = "nothing" if stat is None else f"{stat.size} bytes"
    if stat is not None and stat.size == contents.size:
        found = "other contents"
    return f"expected {contents.size} bytes with the SHA-256 {contents.sha256 or '(unread)'}, found {found}"


async def _pairs(
    records: AsyncIterator[Contents], stats: AsyncIterator[Stat]
) -> AsyncIterator[tuple[Contents | None, Stat | None]]:
    """Yield what two sequences in the order of their keys have for each key."""
    contents, stat = await anext(records, None), await anext(stats, None)
    while contents is not None or stat is not None:
        record_key = contents.object_key if contents else None
        store_key = stat.key if stat else None
        if store_key is None or (record_key is not None and record_key < store_key):
            yield contents, None
            contents = await anext(records, None)
        elif record_key is None or store_key < record_key:
            yield None, stat
            stat = await anext(stats, None)
        else:
            yield contents, stat
            contents, stat = await anext(records, None), await anext(stats, None)
