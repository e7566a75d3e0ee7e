"""MLflow's model registry store for `modelstead://` and `modelstead+tls://`: MLflow's own, at the gateway."""

from functools import partial

from mlflow.store.model_registry.rest_store import RestStore
from mlflow.utils.credentials import get_default_host_creds

from modelstead.mlflow_plugin import addresses


def registry_store(store_uri: str, tracking_uri: str | None = None) -> RestStore:
    """Return the store of a URI; the entry points' object."""
    return RestStore(partial(get_default_host_creds, addresses.rest(store_uri)))
