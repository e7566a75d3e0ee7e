"""How tracking is doing; modelstead/tracking/v1/status.proto says what each number means."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.status import ProcessStatus, TableStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """What goes on in the process."""

    points_per_second: float
    point_count: int
    stream_count: int
    session_count: int
    bytes_under_way: int
    bytes_under_way_max: int
    waiting_count: int
    active_run_count: int
    unsent_point_count: int
    unsent_age_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackingStatus(Activity):
    """All that is told."""

    process: ProcessStatus
    tables: Sequence[TableStatus]
    table_bytes: int
    unsealed_point_count: int
    unsealed_run_count: int
    seal_lag_ms: int
