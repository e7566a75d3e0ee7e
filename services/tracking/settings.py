"""The tracking service's settings; services/common/settings.py tells how variables set them."""

from dataclasses import dataclass
from pathlib import Path

from services.common.auth import AuthKind
from services.common.logs import LogFormat, LogLevel
from services.common.pages import check_keys
from services.common.pool_size import CONNECTIONS_MAX, CONNECTIONS_MIN
from services.common.secret_files import Secret
from services.common.settings import Address, SettingsError, secret, shared
from services.tracking.ingest.model import BATCH_BYTES_MAX

_LISTEN = Address("127.0.0.1", 8081)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is the variable `MODELSTEAD_<FIELD>`."""

    # Of several lines each new connection takes the first that lets it in.
    database_url: Secret = secret()
    # Keys, one a line: the first signs page tokens, all are good for reading them. The same for all replicas.
    page_token_key: Secret = secret()
    listen: Address = _LISTEN
    # How many processes serve on this address; which of them this one is, their parent tells it.
    workers: int = 1
    worker: int | None = None
    # Where gRPC health is told besides, always in plain text: the probes of Kubernetes speak no TLS.
    health_listen: Address | None = None
    auth: AuthKind = AuthKind.NONE
    tokens_file: Path | None = None
    # Where artifacts of experiments without a location of their own go.
    artifact_root: str = "mlflow-artifacts:/"
    # TOML: the stores besides that in which experiments may keep artifacts; docs/artifact-stores.md.
    artifact_stores: Path | None = None
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
    # How many bytes of batches may be under way: of all streams together, and of each; docs/ingest.md.
    ingest_memory_bytes: int = shared(256 * 1024 * 1024, least=BATCH_BYTES_MAX)
    ingest_window_bytes: int = 4 * 1024 * 1024
    # How long a session may be quiet before `gc` forgets it; what its spool still holds could then be stored twice.
    ingest_session_days: int = 90

    def __post_init__(self) -> None:
        check_keys(self.page_token_key)
        if self.ingest_window_bytes < BATCH_BYTES_MAX:
            raise SettingsError(
                f"MODELSTEAD_INGEST_WINDOW_BYTES={self.ingest_window_bytes} is less than a batch may have: "
                f"{BATCH_BYTES_MAX}."
            )
        if self.ingest_memory_bytes < self.ingest_window_bytes:
            raise SettingsError(
                f"MODELSTEAD_INGEST_MEMORY_BYTES={self.ingest_memory_bytes} is less than one stream may take: "
                f"MODELSTEAD_INGEST_WINDOW_BYTES={self.ingest_window_bytes}."
            )
        if self.ingest_session_days < 1:
            raise SettingsError(
                f"MODELSTEAD_INGEST_SESSION_DAYS={self.ingest_session_days} must be at least 1: a client could not "
                "resume."
            )
