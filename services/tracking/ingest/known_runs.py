"""The runs of a stream whose client asks to wait for those that others have yet to begin."""

from services.common.database import Database
from services.common.errors import NotFound
from services.tracking.ingest.model import Batch
from services.tracking.runs import store as runs_store

RETRY_AFTER_S = 0.5
_KNOWN_RUNS_MAX = 10_000


class KnownRuns:
    """Which runs of a stream are there, or begin in it, so that each is looked up once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._run_ids: set[str] = set()

    async def check(self, batch: Batch) -> None:
        """Raise NotFound, with a delay, for a batch of a run that is not there."""
        run_id = batch.entry.run_id
        if batch.refusal is not None or run_id in self._run_ids:
            return
        if batch.start is None:
            async with self._db.pipeline() as tx:
                found = await runs_store.get(tx, run_id)
            if found is None:
                raise NotFound(f"Run with id={run_id} not found", retry_after_s=RETRY_AFTER_S)
        if len(self._run_ids) >= _KNOWN_RUNS_MAX:
            self._run_ids.clear()
        self._run_ids.add(run_id)
