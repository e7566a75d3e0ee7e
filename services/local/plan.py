"""What the local platform consists of: settings in, the programs to run and their environment out."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.settings import Address
from services.local.cluster import Cluster
from services.local.data_dir import DataDir
from services.local.process import LAUNCHED_FOR, Child

LOOPBACK = "127.0.0.1"
# Allowed only with tokens; a client on this machine cannot connect to them as they are written.
_ANY_HOST = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104

# Set for each service below, or an address that two processes cannot share.
_NOT_INHERITED = frozenset({"MODELSTEAD_DATABASE_URL", "MODELSTEAD_PAGE_TOKEN_KEY", "MODELSTEAD_METRICS_LISTEN"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """Where the platform keeps its data and who may reach it. Without `database_url` it runs its own Postgres."""

    data_dir: Path
    database_url: str | None = None
    host: str = LOOPBACK
    port: int = 8080
    auth: str = "none"
    tokens_file: Path | None = None

    @property
    def gateway(self) -> Address:
        return Address(self.host, self.port)

    @property
    def tracking(self) -> Address:
        return Address(self.host, self.port + 1)

    @property
    def url(self) -> str:
        """Where a client on this machine finds the gateway."""
        return f"http://{reachable(self.gateway)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The programs for these settings. `cluster` is None with a database of the user's; services inherit `environ`."""

    settings: UpSettings
    data_dir: DataDir
    cluster: Cluster | None
    environ: Mapping[str, str]

    def children(self) -> list[Child]:
        """Return what runs for good, each after what it needs."""
        return [*self.databases(), self._tracking("tracking"), self._gateway()]

    def databases(self) -> list[Child]:
        return [self.cluster.child()] if self.cluster else []

    def migration(self) -> Child:
        """Return the program that brings the schema of tracking up to date and ends."""
        return self._tracking("migrate", "migrate")

    def _tracking(self, name: str, *arguments: str) -> Child:
        url = self.cluster.url("tracking") if self.cluster else self.settings.database_url
        assert url is not None
        self.data_dir.secret("page-token-key")
        return self._service(
            name,
            ("services.tracking", *arguments),
            MODELSTEAD_LISTEN=str(self.settings.tracking),
            MODELSTEAD_DATABASE_URL_FILE=str(self.data_dir.keep_secret("tracking-database-url", url)),
            MODELSTEAD_PAGE_TOKEN_KEY_FILE=str(self.data_dir.secret_path("page-token-key")),
            MODELSTEAD_MIGRATE_ON_START="true",
        )

    def _gateway(self) -> Child:
        return self._service(
            "gateway",
            ("services.gateway",),
            MODELSTEAD_LISTEN=str(self.settings.gateway),
            MODELSTEAD_TRACKING_ADDRESS=str(reachable(self.settings.tracking)),
        )

    def _service(self, name: str, module: tuple[str, ...], **variables: str) -> Child:
        inherited = {key: value for key, value in self.environ.items() if key not in _NOT_INHERITED}
        if self.settings.tokens_file is not None:
            variables["MODELSTEAD_TOKENS_FILE"] = str(self.settings.tokens_file)
        variables["MODELSTEAD_AUTH"] = self.settings.auth
        variables[LAUNCHED_FOR] = str(self.data_dir.path)
        return Child(
            name=name,
            # -P: a folder `services` where the user stands is not ours.
            argv=[sys.executable, "-P", "-m", *module],
            env={"MODELSTEAD_LOG_FORMAT": "text", **inherited, **variables},
            log=self.data_dir.log(name),
        )


def reachable(address: Address) -> Address:
    """Return where a client on this machine finds a server that listens on `address`."""
    return Address(_ANY_HOST.get(address.host, address.host), address.port)
