"""What tells how the artifact service is doing, from the catalog and from what the process counts."""

from services.artifacts.objects import Objects
from services.artifacts.status import store
from services.artifacts.status.model import ArtifactsStatus
from services.artifacts.traffic import Traffic
from services.common import status
from services.common.database import Database
from services.common.remembered import Remembered
from services.common.status import Process


class Status:
    """The use-case. What it tells may be a second old."""

    def __init__(self, db: Database, process: Process, traffic: Traffic, objects: Objects) -> None:
        self._db = db
        self._process = process
        self._traffic = traffic
        self._objects = objects
        self._remembered = Remembered(self._read, age_s=status.AGE_S)

    async def get(self) -> ArtifactsStatus:
        """Return how this process and its tables are doing."""
        return await self._remembered.get()

    async def _read(self) -> ArtifactsStatus:
        async with self._db.pipeline() as tx:
            schema = await status.read_schema(tx)
            object_bytes = await store.object_bytes(tx)
            pending_upload_count = await store.count_pending(tx)
        return ArtifactsStatus(
            process=schema.of(self._process),
            tables=schema.tables,
            table_bytes=schema.table_bytes,
            object_count=schema.rows_of("blobs"),
            object_bytes=object_bytes,
            pending_upload_count=pending_upload_count,
            garbage_count=schema.rows_of("garbage"),
            bytes_in_per_second=self._traffic.bytes_in.per_second,
            bytes_out_per_second=self._traffic.bytes_out.per_second,
            object_store_answers=await self._objects.answers(),
        )
