"""The artifact service's status as metrics: what passes through the process, and what is stored."""

from services.artifacts.status.model import ArtifactsStatus
from services.artifacts.status.service import Status
from services.artifacts.traffic import Traffic
from services.common import figures
from services.common.figures import Figure

_TRAFFIC: list[Figure[Traffic]] = [
    Figure(
        "modelstead_artifact_in_bytes",
        "Contents sent to the object store by this process.",
        lambda traffic: traffic.bytes_in.total,
        is_total=True,
    ),
    Figure(
        "modelstead_artifact_out_bytes",
        "Contents read from the object store by this process.",
        lambda traffic: traffic.bytes_out.total,
        is_total=True,
    ),
]
_STORED: list[Figure[ArtifactsStatus]] = [
    Figure("modelstead_objects", "Objects with contents of files, estimated.", lambda status: status.object_count),
    Figure("modelstead_objects_bytes", "Their bytes, estimated.", lambda status: status.object_bytes),
    Figure(
        "modelstead_pending_uploads", "Uploads begun and not completed.", lambda status: status.pending_upload_count
    ),
    Figure("modelstead_garbage_objects", "Objects that wait to be deleted.", lambda status: status.garbage_count),
    Figure(
        "modelstead_object_store_answers",
        "Whether the object store answers.",
        lambda status: status.object_store_answers,
    ),
    Figure("modelstead_tables_bytes", "Tables of the schema, with indexes.", lambda status: status.table_bytes),
]


def tell(status: Status, traffic: Traffic) -> None:
    """Have the status be among the metrics."""

    async def now() -> Traffic:
        return traffic

    figures.tell(now, _TRAFFIC)
    figures.tell(status.get, _STORED)
