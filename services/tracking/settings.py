"""The tracking service's settings; services/common/settings.py tells how variables set them."""

from dataclasses import dataclass
from pathlib import Path

from services.common.auth import AuthKind
from services.common.logs import LogFormat, LogLevel
from services.common.settings import Address, SettingsError, secret

_KEY_LENGTH_MIN = 32
_LISTEN = Address("127.0.0.1", 8081)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is the variable `MODELSTEAD_<FIELD>`."""

    database_url: str = secret()
    # Signs page tokens; the same for all replicas.
    page_token_key: str = secret()
    listen: Address = _LISTEN
    auth: AuthKind = AuthKind.NONE
    tokens_file: Path | None = None
    # Where artifacts of experiments without a location of their own go.
    artifact_root: str = "mlflow-artifacts:/"
    # TOML: the stores besides that in which experiments may keep artifacts; docs/artifact-stores.md.
    artifact_stores: Path | None = None
    migrate_on_start: bool = False
    reflection: bool = False
    # How long a server that was told to stop goes on, so that peers look elsewhere.
    drain_notice_s: float = 0.0
    log_format: LogFormat = LogFormat.AUTO
    log_level: LogLevel = LogLevel.INFO
    otlp_endpoint: str = ""
    metrics_listen: Address | None = None

    def __post_init__(self) -> None:
        if len(self.page_token_key) < _KEY_LENGTH_MIN:
            raise SettingsError(f"MODELSTEAD_PAGE_TOKEN_KEY must have at least {_KEY_LENGTH_MIN} characters.")
