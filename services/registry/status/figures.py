"""The registry's status as metrics."""

from services.common import figures
from services.common.figures import Figure
from services.registry.status.model import RegistryStatus
from services.registry.status.service import Status

_FIGURES: list[Figure[RegistryStatus]] = [
    Figure(
        "modelstead_webhook_lag_seconds",
        "For how long the oldest delivery that is to be sent has waited.",
        lambda status: status.delivery_lag_ms / 1000,
    ),
    Figure(
        "modelstead_webhook_pending_deliveries", "Deliveries to be sent.", lambda status: status.pending_delivery_count
    ),
    Figure(
        "modelstead_webhook_dead_deliveries",
        "Deliveries that were given up and are still in the log.",
        lambda status: status.dead_delivery_count,
    ),
    Figure(
        "modelstead_hears_of_changes",
        "Whether the replica hears of changes as they are committed.",
        lambda status: status.hears_of_changes,
    ),
    Figure("modelstead_registered_models", "Registered models, estimated.", lambda status: status.model_count),
    Figure("modelstead_model_versions", "Model versions, estimated.", lambda status: status.version_count),
    Figure("modelstead_tables_bytes", "Tables of the schema, with indexes.", lambda status: status.table_bytes),
]


def tell(status: Status) -> None:
    """Have the status be among the metrics."""
    figures.tell(status.get, _FIGURES)
