"""The artifact service's settings; services/common/settings.py tells how variables set them."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.common.auth import AuthKind
from services.common.logs import LogFormat, LogLevel
from services.common.pages import check_keys
from services.common.pool_size import CONNECTIONS_MAX, CONNECTIONS_MIN
from services.common.secret_files import Secret
from services.common.settings import Address, SettingsError, secret, shared, variable

_LISTEN = Address("127.0.0.1", 8082)
_TRACKING = Address("127.0.0.1", 8081)
_REGISTRY = Address("127.0.0.1", 8083)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is the variable `MODELSTEAD_<FIELD>`."""

    # Of several lines each new connection takes the first that lets it in.
    database_url: Secret = secret()
    # Keys, one a line: the first signs page tokens, all are good for reading them. The same for all replicas.
    page_token_key: Secret = secret()
    # The object store: `http://host:port` or `https://host`, and a bucket that is made if it does not exist.
    s3_endpoint: str
    s3_bucket: str = "modelstead"
    s3_region: str = "us-east-1"
    s3_access_key: Secret = secret()
    s3_secret_key: Secret = secret()
    # Where clients find the object store; without it all contents pass through the platform.
    s3_public_endpoint: str = ""
    # The file that allows stores elsewhere.
    artifact_stores: Path | None = None
    # Who knows to which artifacts a run or a model leads.
    tracking_address: Address = _TRACKING
    # Who knows where the files of a model's version are.
    registry_address: Address = _REGISTRY
    # When an upload that was not completed counts as abandoned.
    upload_ttl_s: int = 24 * 3600
    # How long contents stay that were deleted, so that whoever reads them can go on.
    garbage_grace_s: int = 3600
    sweep_interval_s: float = 60.0
    listen: Address = _LISTEN
    # How many processes serve on this address; which of them this one is, their parent tells it.
    workers: int = 1
    worker: int | None = None
    # Where gRPC health is told besides, always in plain text: the probes of Kubernetes speak no TLS.
    health_listen: Address | None = None
    auth: AuthKind = AuthKind.NONE
    tokens_file: Path | None = None
    migrate_on_start: bool = False
    # How many connections of Postgres this service may have, besides one that listens.
    database_connections: int = shared(CONNECTIONS_MAX, least=CONNECTIONS_MIN)
    reflection: bool = False
    # How long a server that was told to stop goes on, so that peers look elsewhere.
    drain_notice_s: float = 0.0
    # How long callers keep a connection: after about that time they look who is there, and so find new replicas.
    connection_age_s: float = 300.0
    log_format: LogFormat = LogFormat.AUTO
    log_level: LogLevel = LogLevel.INFO
    otlp_endpoint: str = ""
    metrics_listen: Address | None = None

    def __post_init__(self) -> None:
        check_keys(self.page_token_key)
        for name in ("s3_endpoint", "s3_public_endpoint"):
            _check_endpoint(name, getattr(self, name))
        for name in ("upload_ttl_s", "garbage_grace_s", "sweep_interval_s"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{variable(name)}={getattr(self, name)} is not valid: it must be positive.")


def _check_endpoint(name: str, endpoint: str) -> None:
    parts = urlsplit(endpoint)
    is_plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if endpoint and (not is_plain or parts.path.strip("/") or parts.query or parts.fragment):
        raise SettingsError(f"{variable(name)}={endpoint} is not valid: expected http://host:port or https://host.")
