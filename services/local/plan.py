"""What the local platform consists of: settings in, the programs to run and their environment out."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.pool_size import CONNECTIONS_MIN
from services.common.settings import Address
from services.local import ports
from services.local.cluster import CONNECTIONS_MAX, SERVICE_ROLES, Cluster
from services.local.data_dir import DataDir
from services.local.object_store import ACCESS_KEY, KEY_NAME, ObjectStore
from services.local.process import LAUNCHED_FOR, Child

LOOPBACK = "127.0.0.1"
# Allowed only with tokens; a client on this machine cannot connect to them as they are written.
_ANY_HOST = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104

# Which worker a connection leads to is chance: of two a worker, a gateway misses a given worker with 13 %, and all
# gateways together hardly ever.
CONNECTIONS_A_WORKER = 2
BUCKET = "modelstead"
"""The bucket of an embedded S3."""
WEBHOOK_KEY = "webhook-secret-key"
"""Names the secret under which the secrets of webhooks are stored."""
_SESSION_KEY = "session-key"

# Set for each service below, or an address that two processes cannot share.
_NOT_INHERITED = frozenset(
    {
        "MODELSTEAD_DATABASE_URL",
        "MODELSTEAD_PAGE_TOKEN_KEY",
        "MODELSTEAD_METRICS_LISTEN",
        "MODELSTEAD_HEALTH_LISTEN",
        "MODELSTEAD_WEBHOOK_SECRET_KEYS",
        "MODELSTEAD_SESSION_KEYS",
        "MODELSTEAD_S3_ACCESS_KEY",
        "MODELSTEAD_S3_SECRET_KEY",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Settings:
    """An S3 of the user's. Clients find it at `public_endpoint`; without it all contents pass through the platform."""

    endpoint: str
    bucket: str
    access_key_file: Path
    secret_key_file: Path
    public_endpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """Where the platform keeps its data and who may reach it.

    Without `database_url` it runs its own Postgres, without `s3` its own S3. `artifact_stores` is the file that allows
    other stores.
    """

    data_dir: Path
    database_url: str | None = None
    s3: S3Settings | None = None
    artifact_stores: Path | None = None
    host: str = LOOPBACK
    port: int = 8080
    auth: str = "none"
    tokens_file: Path | None = None
    root_path: str = ""
    workers: int = 1

    @property
    def gateway(self) -> Address:
        return Address(self.host, self.port)

    @property
    def tracking(self) -> Address:
        return Address(self.host, self.port + 1)

    @property
    def artifacts(self) -> Address:
        return Address(self.host, self.port + 2)

    @property
    def registry(self) -> Address:
        return Address(self.host, self.port + 3)

    @property
    def database_connections_max(self) -> int:
        """How many connections the embedded Postgres allows: those of all workers, one to listen for each, and half as
        many for tools as a platform of one.
        """
        a_worker = len(SERVICE_ROLES) * CONNECTIONS_MIN + 1
        return max(CONNECTIONS_MAX, a_worker * self.workers + CONNECTIONS_MAX // 2)

    @property
    def url(self) -> str:
        """Where a client on this machine finds the gateway."""
        return f"http://{reachable(self.gateway)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The programs for these settings. `cluster` and `object_store` are None where the user has his own; services
    inherit `environ`.
    """

    settings: UpSettings
    data_dir: DataDir
    cluster: Cluster | None
    object_store: ObjectStore | None
    environ: Mapping[str, str]

    def children(self) -> list[Child]:
        """Return what runs for good, each after what it needs."""
        stores = [self.object_store.child()] if self.object_store else []
        services = [self._tracking("tracking"), self._artifacts("artifacts"), self._registry("registry")]
        return [*self.databases(), *stores, *services, self._gateway()]

    def databases(self) -> list[Child]:
        return [self.cluster.child()] if self.cluster else []

    def migrations(self) -> list[Child]:
        """Return the programs that bring each service's schema up to date and end."""
        return [
            self._tracking("migrate-tracking", "migrate"),
            self._artifacts("migrate-artifacts", "migrate"),
            self._registry("migrate-registry", "migrate"),
        ]

    def is_ready(self) -> bool:
        """Tell whether all of it serves. The gateway answers for the services, but none of them for the S3 server."""
        is_stored = self.object_store is None or self.object_store.is_ready()
        return is_stored and ports.answers_ok(reachable(self.settings.gateway), "/health")

    def _tracking(self, name: str, *arguments: str) -> Child:
        return self._service(
            name,
            ("services.tracking", *arguments),
            MODELSTEAD_LISTEN=str(self.settings.tracking),
            **self._own_schema("tracking"),
            **self._other_stores(),
        )

    def _artifacts(self, name: str, *arguments: str) -> Child:
        return self._service(
            name,
            ("services.artifacts", *arguments),
            MODELSTEAD_LISTEN=str(self.settings.artifacts),
            MODELSTEAD_TRACKING_ADDRESS=str(reachable(self.settings.tracking)),
            MODELSTEAD_REGISTRY_ADDRESS=str(reachable(self.settings.registry)),
            **self._own_schema("artifacts"),
            **self._s3(),
            **self._other_stores(),
        )

    def _registry(self, name: str, *arguments: str) -> Child:
        self.data_dir.secret(WEBHOOK_KEY)
        return self._service(
            name,
            ("services.registry", *arguments),
            MODELSTEAD_LISTEN=str(self.settings.registry),
            MODELSTEAD_TRACKING_ADDRESS=str(reachable(self.settings.tracking)),
            MODELSTEAD_ARTIFACTS_ADDRESS=str(reachable(self.settings.artifacts)),
            MODELSTEAD_WEBHOOK_SECRET_KEYS_FILE=str(self.data_dir.secret_path(WEBHOOK_KEY)),
            **self._own_schema("registry"),
            **self._other_stores(),
        )

    def _own_schema(self, role: str) -> dict[str, str]:
        """Return what a service needs that keeps tables: its database, and the key of its page tokens."""
        url = self.cluster.url(role) if self.cluster else self.settings.database_url
        assert url is not None
        self.data_dir.secret("page-token-key")
        return {
            "MODELSTEAD_DATABASE_URL_FILE": str(self.data_dir.keep_secret(f"{role}-database-url", url)),
            "MODELSTEAD_PAGE_TOKEN_KEY_FILE": str(self.data_dir.secret_path("page-token-key")),
            "MODELSTEAD_MIGRATE_ON_START": "true",
        }

    def _s3(self) -> dict[str, str]:
        if self.object_store is None:
            assert self.settings.s3 is not None
            return {
                "MODELSTEAD_S3_ENDPOINT": self.settings.s3.endpoint,
                "MODELSTEAD_S3_BUCKET": self.settings.s3.bucket,
                "MODELSTEAD_S3_ACCESS_KEY_FILE": str(self.settings.s3.access_key_file),
                "MODELSTEAD_S3_SECRET_KEY_FILE": str(self.settings.s3.secret_key_file),
                "MODELSTEAD_S3_PUBLIC_ENDPOINT": self._public_endpoint,
            }
        self.data_dir.secret(KEY_NAME)
        return {
            "MODELSTEAD_S3_ENDPOINT": f"http://{self.object_store.address}",
            "MODELSTEAD_S3_BUCKET": BUCKET,
            "MODELSTEAD_S3_ACCESS_KEY": ACCESS_KEY,
            "MODELSTEAD_S3_SECRET_KEY_FILE": str(self.data_dir.secret_path(KEY_NAME)),
            "MODELSTEAD_S3_PUBLIC_ENDPOINT": self._public_endpoint,
        }

    @property
    def _public_endpoint(self) -> str:
        """Where clients find the S3 server: our own listens on loopback, and so they do if the gateway does too."""
        if self.settings.s3 is not None:
            return self.settings.s3.public_endpoint
        assert self.object_store is not None
        return f"http://{self.object_store.address}" if self.settings.gateway.is_loopback else ""

    def _other_stores(self) -> dict[str, str]:
        file = self.settings.artifact_stores
        return {"MODELSTEAD_ARTIFACT_STORES": str(file)} if file else {}

    def _gateway(self) -> Child:
        self.data_dir.secret(_SESSION_KEY)
        return self._service(
            "gateway",
            ("services.gateway",),
            MODELSTEAD_LISTEN=str(self.settings.gateway),
            MODELSTEAD_SESSION_KEYS_FILE=str(self.data_dir.secret_path(_SESSION_KEY)),
            MODELSTEAD_TRACKING_ADDRESS=str(reachable(self.settings.tracking)),
            MODELSTEAD_ARTIFACTS_ADDRESS=str(reachable(self.settings.artifacts)),
            MODELSTEAD_REGISTRY_ADDRESS=str(reachable(self.settings.registry)),
            MODELSTEAD_PRESIGNED_ARTIFACTS="true" if self._public_endpoint else "false",
            MODELSTEAD_PUBLIC_TRACKING_ADDRESS=f":{self.settings.tracking.port}",
            MODELSTEAD_ROOT_PATH=self.settings.root_path,
            MODELSTEAD_BACKEND_CONNECTIONS=str(self._connections),
        )

    @property
    def _connections(self) -> int:
        """How many connections have calls of one gateway reach all workers of a service, all but always."""
        return 1 if self.settings.workers == 1 else CONNECTIONS_A_WORKER * self.settings.workers

    def _service(self, name: str, module: tuple[str, ...], **variables: str) -> Child:
        inherited = {key: value for key, value in self.environ.items() if key not in _NOT_INHERITED}
        if self.settings.tokens_file is not None:
            variables["MODELSTEAD_TOKENS_FILE"] = str(self.settings.tokens_file)
        variables["MODELSTEAD_AUTH"] = self.settings.auth
        variables["MODELSTEAD_WORKERS"] = str(self.settings.workers)
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
