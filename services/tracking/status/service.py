"""What tells how tracking is doing, from the catalog and from what the process counts."""

from dataclasses import asdict

from services.common import status
from services.common.database import Database
from services.common.remembered import Remembered
from services.common.status import Process
from services.tracking.ingest.service import Ingest
from services.tracking.run_logs.meter import Meter
from services.tracking.run_logs.service import RunLogs
from services.tracking.sealing import store as sealing_store
from services.tracking.sealing.service import Sealing
from services.tracking.status.model import Activity, TrackingStatus


class Status:
    """The use-case. What it tells may be a second old."""

    def __init__(
        self, db: Database, process: Process, *, meter: Meter, ingest: Ingest, run_logs: RunLogs, sealing: Sealing
    ) -> None:
        self._db = db
        self._process = process
        self._meter = meter
        self._ingest = ingest
        self._run_logs = run_logs
        self._sealing = sealing
        self._remembered = Remembered(self._read, age_s=status.AGE_S)

    async def get(self) -> TrackingStatus:
        """Return how this process and its tables are doing."""
        return await self._remembered.get()

    def activity(self) -> Activity:
        """Return what goes on in this process now."""
        load = self._ingest.load()
        return Activity(
            points_per_second=self._meter.points.per_second,
            point_count=self._meter.points.total,
            stream_count=load.stream_count,
            session_count=load.session_count,
            bytes_under_way=load.bytes_under_way,
            bytes_under_way_max=load.bytes_under_way_max,
            waiting_count=load.waiting_count + self._run_logs.waiting_count,
            active_run_count=self._meter.active_run_count,
            unsent_point_count=load.backlog.point_count,
            unsent_age_ms=load.backlog.age_ms,
        )

    async def _read(self) -> TrackingStatus:
        async with self._db.pipeline() as tx:
            schema = await status.read_schema(tx)
            unsealed_run_count = await sealing_store.count_queued(tx)
        return TrackingStatus(
            process=schema.of(self._process),
            tables=schema.tables,
            table_bytes=schema.table_bytes,
            unsealed_point_count=schema.rows_of("metric_points"),
            unsealed_run_count=unsealed_run_count,
            seal_lag_ms=self._sealing.lag_ms if unsealed_run_count else 0,
            **asdict(self.activity()),
        )
