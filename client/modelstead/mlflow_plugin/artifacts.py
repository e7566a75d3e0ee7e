"""MLflow's artifact repositories where the tracking URI is `modelstead://…`: MLflow's own, at the gateway.

MLflow resolves `mlflow-artifacts:` against the tracking URI and takes only http for that. So its entry is replaced by
one that tells it the gateway's address, and does not change what any other tracking URI means.
"""

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from mlflow.tracking import get_tracking_uri

from modelstead.mlflow_plugin import addresses
from modelstead.runs import connection


def proxied_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> ArtifactRepository:
    """Return the repository of an `mlflow-artifacts:` URI."""
    tracking_uri = addresses.rest(tracking_uri or get_tracking_uri())
    return MlflowArtifactsRepository(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)


def gateway_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> ArtifactRepository:
    """Return the repository of `modelstead://host:port/path`, which is `mlflow-artifacts:/path` at that gateway."""
    scheme, _, rest = artifact_uri.partition("://")
    host, _, path = rest.partition("/")
    url = connection.gateway_url(f"{scheme}://{host}")
    return MlflowArtifactsRepository(f"mlflow-artifacts:/{path}", tracking_uri=url, registry_uri=registry_uri)
