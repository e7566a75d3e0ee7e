"""How the registry is doing; modelstead/registry/v1/status.proto says what each number means."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.status import ProcessStatus, TableStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Deliveries:
    """What is to be sent to webhooks, and what was given up."""

    pending_count: int
    dead_count: int
    lag_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryStatus:
    """All that is told."""

    process: ProcessStatus
    tables: Sequence[TableStatus]
    table_bytes: int
    model_count: int
    version_count: int
    event_count: int
    watch_count: int
    hears_of_changes: bool
    pending_delivery_count: int
    dead_delivery_count: int
    delivery_lag_ms: int
