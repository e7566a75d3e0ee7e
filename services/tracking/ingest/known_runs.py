"""Which runs are there, for streams whose clients ask to wait for those that others have yet to begin."""

from collections.abc import Mapping, Sequence

from services.common.database import Database
from services.common.errors import NotFound
from services.common.group_read import GroupRead
from services.tracking.ingest import store
from services.tracking.ingest.model import Batch

RETRY_AFTER_S = 0.5
_RUNS_A_READ = 1000
_KNOWN_RUNS_MAX = 10_000


class Runs:
    """Looks runs up, those of many streams at once: they come together when a server has gone."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._reads: GroupRead[str, bool] = GroupRead(self._read, keys_max=_RUNS_A_READ)

    async def exists(self, run_id: str) -> bool:
        """Return whether there is a run, deleted or not."""
        return await self._reads.get(run_id)

    async def _read(self, run_ids: Sequence[str]) -> Mapping[str, bool]:
        async with self._db.reading() as tx:
            found = await store.existing_runs(tx, run_ids)
        return {run_id: run_id in found for run_id in run_ids}


class KnownRuns:
    """Which runs of a stream are there, or begin in it, so that each is looked up once."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._run_ids: set[str] = set()

    async def check(self, batch: Batch) -> None:
        """Raise NotFound, with a delay, for a batch of a run that is not there."""
        run_id = batch.entry.run_id
        if batch.refusal is not None or run_id in self._run_ids:
            return
        if batch.start is None and not await self._runs.exists(run_id):
            raise NotFound(f"Run with id={run_id} not found", retry_after_s=RETRY_AFTER_S)
        if len(self._run_ids) >= _KNOWN_RUNS_MAX:
            self._run_ids.clear()
        self._run_ids.add(run_id)
