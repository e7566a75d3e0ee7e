"""How the artifact service is doing; modelstead/artifacts/v1/status.proto says what each number means."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.status import ProcessStatus, TableStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactsStatus:
    """All that is told."""

    process: ProcessStatus
    tables: Sequence[TableStatus]
    table_bytes: int
    object_count: int
    object_bytes: int
    pending_upload_count: int
    garbage_count: int
    bytes_in_per_second: float
    bytes_out_per_second: float
    object_store_answers: bool
