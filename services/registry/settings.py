"""The registry service's settings; services/common/settings.py tells how variables set them."""

from dataclasses import dataclass
from pathlib import Path

from services.common.auth import AuthKind
from services.common.logs import LogFormat, LogLevel
from services.common.pages import check_keys
from services.common.pool_size import CONNECTIONS_MAX, CONNECTIONS_MIN
from services.common.secret_files import Secret
from services.common.settings import Address, SettingsError, secret, shared, variable
from services.registry.permissions.model import Level
from services.registry.webhooks.networks import parse_networks
from services.registry.webhooks.sealing import Sealer

_NO_KEYS = Secret("")
_LISTEN = Address("127.0.0.1", 8083)
_TRACKING = Address("127.0.0.1", 8081)
_ARTIFACTS = Address("127.0.0.1", 8082)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is the variable `MODELSTEAD_<FIELD>`."""

    # Of several lines each new connection takes the first that lets it in.
    database_url: Secret = secret()
    # Keys, one a line: the first signs page tokens, all are good for reading them. The same for all replicas.
    page_token_key: Secret = secret()
    # Who knows where the artifacts of a run or a logged model are, below which a version's source may lie.
    tracking_address: Address = _TRACKING
    # Whether there must be files at the source of a new version, and who knows whether there are.
    require_source: bool = False
    artifacts_address: Address = _ARTIFACTS
    # The file that allows stores elsewhere, which versions may name as their source even if it names a host.
    artifact_stores: Path | None = None
    # Keys of 32 bytes in URL-safe base64, separated by commas, under which the secrets of webhooks are stored: the
    # first encrypts, all decrypt. The same for all replicas. Without one no webhook can have a secret.
    webhook_secret_keys: Secret = secret(default=_NO_KEYS)
    # Networks besides the Internet that webhooks may be sent to, as 10.1.0.0/16, separated by commas.
    webhook_networks: tuple[str, ...] = ()
    # Whether webhooks may be sent over plain HTTP.
    webhook_plain_http: bool = False
    # Whether what webhooks are to be told is sent; without, it waits until a registry with the same database sends it.
    webhook_delivery: bool = True
    # How long a delivery is tried again.
    webhook_retry_s: int = 86_400
    # How long a delivery that has ended can be looked up, and sent again.
    webhook_log_days: int = 30
    listen: Address = _LISTEN
    # How many processes serve on this address; which of them this one is, their parent tells it.
    workers: int = 1
    worker: int | None = None
    # Where gRPC health is told besides, always in plain text: the probes of Kubernetes speak no TLS.
    health_listen: Address | None = None
    auth: AuthKind = AuthKind.NONE
    tokens_file: Path | None = None
    # What every caller may do with every model, besides what is granted on it: NONE, READ, EDIT,
    # MANAGE_STAGING_VERSIONS, MANAGE_PRODUCTION_VERSIONS or MANAGE.
    default_permission: Level = Level.MANAGE
    # The group whose members may do everything.
    admin_group: str = "admins"
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
        try:
            parse_networks(self.webhook_networks)
        except ValueError as error:
            raise SettingsError(f"{variable('webhook_networks')}: {error}.") from None
        try:
            Sealer(self.webhook_secret_keys)
        except ValueError:
            raise SettingsError(
                f"{variable('webhook_secret_keys')}: each key must be 32 bytes in URL-safe base64."
            ) from None
