"""Which proto services live at which backend. This is the one place that a new service is added to."""

from dataclasses import dataclass

from google.protobuf.descriptor import FileDescriptor

from modelstead.artifacts.v1 import artifacts_pb2, owned_artifacts_pb2, uploads_pb2
from modelstead.artifacts.v1 import status_pb2 as artifacts_status_pb2
from modelstead.registry.v1 import (
    activities_pb2,
    audit_pb2,
    checks_pb2,
    comments_pb2,
    history_pb2,
    lookups_pb2,
    model_versions_pb2,
    permissions_pb2,
    policies_pb2,
    registered_models_pb2,
    registry_webhooks_pb2,
    releases_pb2,
    transition_requests_pb2,
    webhook_deliveries_pb2,
    webhooks_pb2,
)
from modelstead.registry.v1 import status_pb2 as registry_status_pb2
from modelstead.tracking.v1 import (
    datasets_pb2,
    experiments_pb2,
    logged_models_pb2,
    metrics_pb2,
    run_ranks_pb2,
    run_watches_pb2,
    runs_pb2,
)
from modelstead.tracking.v1 import permissions_pb2 as experiment_permissions_pb2
from modelstead.tracking.v1 import status_pb2 as tracking_status_pb2
from services.common.settings import Address
from services.gateway.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """One backend: what the gateway calls it, where it is, and the proto files whose services it serves."""

    name: str
    address: Address
    files: tuple[FileDescriptor, ...]


def backends(settings: Settings) -> list[Backend]:
    """Return all backends."""
    return [
        Backend(
            name="tracking",
            address=settings.tracking_address,
            files=(
                experiments_pb2.DESCRIPTOR,
                runs_pb2.DESCRIPTOR,
                run_watches_pb2.DESCRIPTOR,
                metrics_pb2.DESCRIPTOR,
                datasets_pb2.DESCRIPTOR,
                logged_models_pb2.DESCRIPTOR,
                experiment_permissions_pb2.DESCRIPTOR,
                tracking_status_pb2.DESCRIPTOR,
                run_ranks_pb2.DESCRIPTOR,
            ),
        ),
        Backend(
            name="artifacts",
            address=settings.artifacts_address,
            files=(
                artifacts_pb2.DESCRIPTOR,
                uploads_pb2.DESCRIPTOR,
                owned_artifacts_pb2.DESCRIPTOR,
                artifacts_status_pb2.DESCRIPTOR,
            ),
        ),
        Backend(
            name="registry",
            address=settings.registry_address,
            files=(
                registered_models_pb2.DESCRIPTOR,
                model_versions_pb2.DESCRIPTOR,
                transition_requests_pb2.DESCRIPTOR,
                policies_pb2.DESCRIPTOR,
                checks_pb2.DESCRIPTOR,
                releases_pb2.DESCRIPTOR,
                lookups_pb2.DESCRIPTOR,
                permissions_pb2.DESCRIPTOR,
                comments_pb2.DESCRIPTOR,
                webhooks_pb2.DESCRIPTOR,
                registry_webhooks_pb2.DESCRIPTOR,
                webhook_deliveries_pb2.DESCRIPTOR,
                activities_pb2.DESCRIPTOR,
                audit_pb2.DESCRIPTOR,
                history_pb2.DESCRIPTOR,
                registry_status_pb2.DESCRIPTOR,
            ),
        ),
    ]
