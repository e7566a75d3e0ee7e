"""Refuses URIs under which a client, not the operator, would choose the host that a server connects to."""

from urllib.parse import urlsplit

from services.common.artifact_stores import MANAGED_SCHEME, Stores
from services.common.errors import InvalidArgument

# As MLflow 3.18, store/artifact/host_policy.py.
_HOST_SCHEMES = frozenset({"ftp", "sftp", "hdfs", "viewfs", "http", "https", "mlflow-artifacts", "r2", "b2", "abfss"})


def check_host(uri: str, *, field: str, stores: Stores) -> None:
    """Raises InvalidArgument if `field` holds a URI that names a host where no store is allowed."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise InvalidArgument(f"'{field}' is not a URI: {uri!r}") from None
    is_managed = parts.scheme == MANAGED_SCHEME and not parts.netloc
    if parts.scheme in _HOST_SCHEMES and not is_managed and not stores.allow(uri):
        raise InvalidArgument(
            f"'{field}' cannot use the '{parts.scheme}' scheme: it names a host other than the platform's own artifact "
            "storage, and a server connects only where its operator allows."
        )
