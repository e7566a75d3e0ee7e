"""What tells how the registry is doing, from the catalog and from what the process counts."""

from collections.abc import Callable

from services.common import status
from services.common.database import Database
from services.common.remembered import Remembered
from services.common.status import Process
from services.registry.status import store
from services.registry.status.model import RegistryStatus


class Status:
    """The use-case. What it tells may be a second old.

    `watch_count` returns how many watches are open, `hears` whether the process hears of changes.
    """

    def __init__(
        self, db: Database, process: Process, *, watch_count: Callable[[], int], hears: Callable[[], bool]
    ) -> None:
        self._db = db
        self._process = process
        self._watch_count = watch_count
        self._hears = hears
        self._remembered = Remembered(self._read, age_s=status.AGE_S)

    async def get(self) -> RegistryStatus:
        """Return how this process and its tables are doing."""
        return await self._remembered.get()

    async def _read(self) -> RegistryStatus:
        async with self._db.pipeline() as tx:
            schema = await status.read_schema(tx)
            deliveries = await store.deliveries(tx)
        return RegistryStatus(
            process=schema.of(self._process),
            tables=schema.tables,
            table_bytes=schema.table_bytes,
            model_count=schema.rows_of("registered_models"),
            version_count=schema.rows_of("model_versions"),
            event_count=schema.rows_of("events"),
            watch_count=self._watch_count(),
            hears_of_changes=self._hears(),
            pending_delivery_count=deliveries.pending_count,
            dead_delivery_count=deliveries.dead_count,
            delivery_lag_ms=deliveries.lag_ms,
        )
