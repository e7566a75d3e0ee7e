"""Tracking's status as metrics: what goes on in the process, and what its tables say."""

from services.common import figures
from services.common.figures import Figure
from services.tracking.status.model import Activity, TrackingStatus
from services.tracking.status.service import Status

_ACTIVITY: list[Figure[Activity]] = [
    Figure("modelstead_points_stored", "Metric points stored.", lambda now: now.point_count, is_total=True),
    Figure("modelstead_ingest_streams", "Streams of batches that are open.", lambda now: now.stream_count),
    Figure("modelstead_ingest_sessions", "Sessions that have a stream open.", lambda now: now.session_count),
    Figure(
        "modelstead_ingest_under_way_bytes",
        "Batches that have come and are not committed yet.",
        lambda now: now.bytes_under_way,
    ),
    Figure(
        "modelstead_ingest_under_way_max_bytes", "Batches that may be under way.", lambda now: now.bytes_under_way_max
    ),
    Figure(
        "modelstead_commits_waiting",
        "Batches and calls that wait for their turn to be committed.",
        lambda now: now.waiting_count,
    ),
    Figure("modelstead_active_runs", "Runs that logged in the last minute.", lambda now: now.active_run_count),
    Figure(
        "modelstead_client_unsent_points",
        "Points that clients with an open stream say they have not sent yet.",
        lambda now: now.unsent_point_count,
    ),
    Figure(
        "modelstead_client_unsent_seconds",
        "For how long the oldest point that a client has not sent yet has waited there.",
        lambda now: now.unsent_age_ms / 1000,
    ),
]
_STORED: list[Figure[TrackingStatus]] = [
    Figure(
        "modelstead_seal_lag_seconds",
        "Points that came longer ago have been looked after by the sealing of chunks.",
        lambda status: status.seal_lag_ms / 1000,
    ),
    Figure(
        "modelstead_unsealed_points",
        "Points that are rows of their own still.",
        lambda status: status.unsealed_point_count,
    ),
    Figure("modelstead_unsealed_runs", "Runs that wait for sealing.", lambda status: status.unsealed_run_count),
    Figure("modelstead_tables_bytes", "Tables of the schema, with indexes.", lambda status: status.table_bytes),
]


def tell(status: Status) -> None:
    """Have the status be among the metrics."""

    async def activity() -> Activity:
        return status.activity()

    figures.tell(activity, _ACTIVITY)
    figures.tell(status.get, _STORED)
