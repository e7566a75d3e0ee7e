"""The sub-commands that the server distribution adds to `modelstead`: options in, one sentence out if it fails."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from services.common.auth import AuthKind
from services.common.prefork.bounds import WORKERS_MAX
from services.common.settings import Address
from services.local import up as platform
from services.local.errors import LocalError
from services.local.plan import LOOPBACK, S3Settings, UpSettings

DataDirOption = Annotated[
    Path,
    typer.Option(envvar="MODELSTEAD_DATA_DIR", file_okay=False, help="Folder of everything that is kept."),
]
DatabaseUrlOption = Annotated[
    str | None,
    typer.Option(
        envvar="MODELSTEAD_DATABASE_URL",
        show_envvar=True,
        help="postgresql:// URL of a Postgres of yours, used instead of the embedded one. "
        "Its role must be allowed to create the schemas `tracking`, `artifacts` and `registry`.",
    ),
]


def file_option(variable: str, text: str) -> Any:
    """Return the option of an existing file, as an absolute path."""
    return typer.Option(envvar=variable, exists=True, dir_okay=False, resolve_path=True, help=text)


TokensFileOption = Annotated[
    Path | None, file_option("MODELSTEAD_TOKENS_FILE", "Named API keys, one `name:sha256hex` a line.")
]
ArtifactStoresOption = Annotated[
    Path | None,
    file_option("MODELSTEAD_ARTIFACT_STORES", "TOML: other stores in which experiments may keep their artifacts."),
]
S3EndpointOption = Annotated[
    str | None,
    typer.Option(
        envvar="MODELSTEAD_S3_ENDPOINT",
        help="http(s)://host:port of an S3 of yours, used instead of the embedded one; needs bucket and keys.",
    ),
]
S3PublicEndpointOption = Annotated[
    str | None,
    typer.Option(
        envvar="MODELSTEAD_S3_PUBLIC_ENDPOINT",
        help="Where clients find it, for large files. Without it all contents pass through the platform.",
    ),
]
S3BucketOption = Annotated[str | None, typer.Option(envvar="MODELSTEAD_S3_BUCKET", help="Its bucket.")]
S3AccessKeyOption = Annotated[Path | None, file_option("MODELSTEAD_S3_ACCESS_KEY_FILE", "File with its access key.")]
S3SecretKeyOption = Annotated[Path | None, file_option("MODELSTEAD_S3_SECRET_KEY_FILE", "File with its secret key.")]


def up(
    *,
    port: Annotated[
        int,
        typer.Option(
            envvar="MODELSTEAD_PORT",
            min=1,
            max=65532,
            help="Port of the gateway. Tracking, artifacts and registry take the three after it.",
        ),
    ] = 8080,
    data_dir: DataDirOption = Path(".modelstead"),
    database_url: DatabaseUrlOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but loopback demands `--auth tokens --tokens-file F`.")
    ] = LOOPBACK,
    auth: Annotated[AuthKind, typer.Option(envvar="MODELSTEAD_AUTH", help="Who is let in.")] = AuthKind.NONE,
    tokens_file: TokensFileOption = None,
    s3_endpoint: S3EndpointOption = None,
    s3_bucket: S3BucketOption = None,
    s3_access_key_file: S3AccessKeyOption = None,
    s3_secret_key_file: S3SecretKeyOption = None,
    s3_public_endpoint: S3PublicEndpointOption = None,
    artifact_stores: ArtifactStoresOption = None,
    workers: Annotated[
        int,
        typer.Option(
            envvar="MODELSTEAD_WORKERS",
            min=1,
            max=WORKERS_MAX,
            help="Processes of each service, for a machine with many cores: about a quarter of them.",
        ),
    ] = 1,
    root_path: Annotated[
        str, typer.Option(envvar="MODELSTEAD_ROOT_PATH", help="Prefix of the path at which a proxy has it, as /ml.")
    ] = "",
) -> None:
    """Run all of the platform on this machine until Ctrl-C."""
    if auth is AuthKind.TOKENS and tokens_file is None:
        raise typer.BadParameter("--auth tokens needs --tokens-file.")
    if auth is not AuthKind.TOKENS and not Address(host, port).is_loopback:
        raise typer.BadParameter(f"--host {host} can be reached by others: add --auth tokens --tokens-file FILE.")
    settings = UpSettings(
        data_dir=data_dir,
        database_url=postgres_url(database_url),
        host=host,
        port=port,
        auth=auth.value,
        tokens_file=tokens_file,
        s3=s3_settings(s3_endpoint, s3_bucket, s3_access_key_file, s3_secret_key_file, s3_public_endpoint),
        artifact_stores=artifact_stores,
        root_path=root_path,
        workers=workers,
    )
    explained(lambda: platform.run(settings, environ=os.environ, say=say))


def migrate(*, data_dir: DataDirOption = Path(".modelstead"), database_url: DatabaseUrlOption = None) -> None:
    """Bring the database up to date without starting the platform. `up` does so by itself."""
    settings = UpSettings(data_dir=data_dir, database_url=postgres_url(database_url))
    explained(lambda: platform.migrate(settings, environ=os.environ, say=say))


def explained(command: Callable[[], None]) -> None:
    """Run a command; if it fails in a way that its user can do something about, say so and exit 1."""
    try:
        command()
    except LocalError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def say(text: str) -> None:
    """Print a line now, also into a pipe."""
    print(text, flush=True)


def s3_settings(
    endpoint: str | None,
    bucket: str | None,
    access_key_file: Path | None,
    secret_key_file: Path | None,
    public_endpoint: str | None = None,
) -> S3Settings | None:
    """Return the S3 that options name, None if they name none. Raises BadParameter."""
    for option, url in (("--s3-endpoint", endpoint), ("--s3-public-endpoint", public_endpoint)):
        if url and not url.startswith(("http://", "https://")):
            raise typer.BadParameter(f"{option} must be of the form https://host:port.")
    if not endpoint:
        return None
    if not bucket or access_key_file is None or secret_key_file is None:
        raise typer.BadParameter("--s3-endpoint needs --s3-bucket, --s3-access-key-file and --s3-secret-key-file.")
    return S3Settings(
        endpoint=endpoint,
        bucket=bucket,
        access_key_file=access_key_file,
        secret_key_file=secret_key_file,
        public_endpoint=public_endpoint or "",
    )


def postgres_url(url: str | None) -> str | None:
    """Return the URL of the option. Raises BadParameter if it is none of Postgres."""
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise typer.BadParameter("--database-url must be of the form postgresql://user:password@host:port/database.")
    return url or None
