"""Where what is backed up is: a Postgres and a bucket, of a platform that runs here or given by their addresses."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from services.common.settings import Address
from services.local import cluster, object_store
from services.local.errors import LocalError
from services.local.plan import BUCKET, LOOPBACK, WEBHOOK_KEY, S3Settings

_POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A server, and a role that may replicate from it."""

    address: Address
    role: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "Postgres":
        """Return what a URL names. Raises LocalError."""
        parts = urlsplit(url)
        if not parts.hostname or not parts.username:
            raise LocalError("The database's URL must be of the form postgresql://user:password@host:port/database.")
        return cls(
            address=Address(parts.hostname, parts.port or _POSTGRES_PORT),
            role=unquote(parts.username),
            password=unquote(parts.password or ""),
        )

    @property
    def options(self) -> list[str]:
        """What Postgres' own programs are told, without the password."""
        return [
            f"--host={self.address.host}",
            f"--port={self.address.port}",
            f"--username={self.role}",
            "--no-password",
        ]

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """Give the environment in which they find the password: in a file, so that no list of processes shows it."""
        with TemporaryDirectory(prefix="modelstead-") as folder:
            file = Path(folder) / "password"
            file.touch(mode=0o600)
            escaped = self.password.replace("\\", "\\\\").replace(":", "\\:")
            file.write_text(f"*:*:*:*:{escaped}\n", encoding="utf-8")
            yield {"PGPASSFILE": str(file), "PGCONNECT_TIMEOUT": "10", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket of an S3 and the keys to it."""

    endpoint: str
    name: str
    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def of(cls, settings: S3Settings) -> "Bucket":
        """Return the bucket of somebody's own S3."""
        return cls(
            endpoint=settings.endpoint,
            name=settings.bucket,
            access_key=settings.access_key_file.read_text(encoding="utf-8").strip(),
            secret_key=settings.secret_key_file.read_text(encoding="utf-8").strip(),
        )


def embedded_postgres(data_dir: Path) -> Postgres:
    """Return the server that `modelstead up` runs on a data folder. Raises LocalError."""
    return Postgres(
        address=Address(LOOPBACK, int(_read(data_dir, cluster.PORT_FILE))),
        role=cluster.SUPERUSER,
        password=_read(data_dir, f"secrets/{cluster.password_name(cluster.SUPERUSER)}"),
    )


def embedded_bucket(data_dir: Path) -> Bucket:
    """Return the bucket that it keeps its contents in. Raises LocalError."""
    port = json.loads(_read(data_dir, object_store.PORTS_FILE))[object_store.S3_PORT]
    return Bucket(
        endpoint=f"http://{Address(LOOPBACK, port)}",
        name=BUCKET,
        access_key=object_store.ACCESS_KEY,
        secret_key=_read(data_dir, f"secrets/{object_store.KEY_NAME}"),
    )


def webhook_key(data_dir: Path) -> str | None:
    """Return the key under which the platform of a data folder stores secrets of webhooks; None without that folder."""
    try:
        return (data_dir / "secrets" / WEBHOOK_KEY).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def _read(data_dir: Path, name: str) -> str:
    try:
        return (data_dir / name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LocalError(
            f"{data_dir} is not the data folder of a platform ({error.filename}: {error.strerror}): name it with "
            "--data-dir, or a Postgres and an S3 of yours with --database-url and --s3-endpoint."
        ) from error
