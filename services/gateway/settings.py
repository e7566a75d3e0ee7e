"""The gateway's settings; services/common/settings.py tells how variables set them."""

import re
from dataclasses import dataclass
from pathlib import Path

from services.common import web_ui
from services.common.auth import AuthKind
from services.common.logs import LogFormat, LogLevel
from services.common.secret_files import Secret, words_of
from services.common.settings import Address, SettingsError, secret, variable
from services.gateway.sessions import ciphers

BACKEND_CONNECTIONS_MAX = 64
_NO_KEYS = Secret("")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is the variable `MODELSTEAD_<FIELD>`."""

    listen: Address = Address("127.0.0.1", 8080)
    # How many processes serve on this address; which of them this one is, their parent tells it.
    workers: int = 1
    worker: int | None = None
    # How many connections it keeps to each address of a backend. One leads to one process, so where a backend has
    # several workers on an address, several connections have them share the load.
    backend_connections: int = 1
    tracking_address: Address = Address("127.0.0.1", 8081)
    artifacts_address: Address = Address("127.0.0.1", 8082)
    registry_address: Address = Address("127.0.0.1", 8083)
    # Whether clients can reach the object store, and so send to it and read from it by presigned URLs.
    presigned_artifacts: bool = False
    auth: AuthKind = AuthKind.NONE
    tokens_file: Path | None = None
    # Where clients reach tracking's gRPC: `host:port`, or `:port` for the host under which they reach the gateway, with
    # TLS if they reach the gateway by https; `grpc://` or `grpcs://` before it says which. Empty: they do not.
    public_tracking_address: str = ""
    # Names under which browsers may address the gateway, besides the loopback's; `*` stands for any text.
    # Default: any with tokens, else none.
    allowed_hosts: tuple[str, ...] = ()
    # The prefix of the path at which a proxy has the gateway, as `/ml`, whether it takes it off or leaves it.
    root_path: str = ""
    # Whether MLflow's web UI is served, if it is installed: `modelstead ui install` puts it into this folder.
    ui: bool = True
    ui_folder: Path = web_ui.FOLDER
    # Keys of 32 bytes in URL-safe base64, separated by commas, under which browsers keep their sessions: the first
    # seals, all open. The same for all replicas. Without one, sessions end with the process.
    session_keys: Secret = secret(default=_NO_KEYS)
    # How long a session lasts after its login.
    session_lifetime_s: int = 12 * 3600
    # How long a gateway that was told to stop goes on, so that load balancers look elsewhere.
    drain_notice_s: float = 0.0
    log_format: LogFormat = LogFormat.AUTO
    log_level: LogLevel = LogLevel.INFO
    otlp_endpoint: str = ""
    metrics_listen: Address | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.backend_connections <= BACKEND_CONNECTIONS_MAX:
            raise SettingsError(
                f"{variable('backend_connections')}={self.backend_connections} is not valid: expected 1 to "
                f"{BACKEND_CONNECTIONS_MAX}."
            )
        if self.root_path and not _ROOT_PATH.fullmatch(self.root_path):
            raise SettingsError(
                f"{variable('root_path')}={self.root_path!r} must be a path such as /ml, without a / at its end."
            )
        try:
            if keys := words_of(self.session_keys.read()):
                ciphers(keys)
        except ValueError:
            raise SettingsError(f"{variable('session_keys')}: each key must be 32 bytes in URL-safe base64.") from None
        if self.session_lifetime_s <= 0:
            raise SettingsError(f"{variable('session_lifetime_s')} must be positive.")
