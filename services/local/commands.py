"""The sub-commands that the server distribution adds to `modelstead`: options in, one sentence out if it fails."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from services.common.auth import AuthKind
from services.common.settings import Address
from services.local import up as platform
from services.local.errors import LocalError
from services.local.plan import LOOPBACK, UpSettings

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
        "Its role must be allowed to create the schema `tracking`.",
    ),
]


def up(
    *,
    port: Annotated[
        int,
        typer.Option(
            envvar="MODELSTEAD_PORT", min=1, max=65534, help="Port of the gateway. Tracking takes the one after it."
        ),
    ] = 8080,
    data_dir: DataDirOption = Path(".modelstead"),
    database_url: DatabaseUrlOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but loopback demands `--auth tokens --tokens-file F`.")
    ] = LOOPBACK,
    auth: Annotated[AuthKind, typer.Option(envvar="MODELSTEAD_AUTH", help="Who is let in.")] = AuthKind.NONE,
    tokens_file: Annotated[
        Path | None,
        typer.Option(
            envvar="MODELSTEAD_TOKENS_FILE",
            exists=True,
            dir_okay=False,
            resolve_path=True,
            help="Named API keys, one `name:sha256hex` a line.",
        ),
    ] = None,
) -> None:
    """Run all of the platform on this machine until Ctrl-C."""
    if auth is AuthKind.TOKENS and tokens_file is None:
        raise typer.BadParameter("--auth tokens needs --tokens-file.")
    if auth is AuthKind.NONE and not Address(host, port).is_loopback:
        raise typer.BadParameter(f"--host {host} can be reached by others: add --auth tokens --tokens-file FILE.")
    settings = UpSettings(
        data_dir=data_dir,
        database_url=_postgres_url(database_url),
        host=host,
        port=port,
        auth=auth.value,
        tokens_file=tokens_file,
    )
    _explained(lambda: platform.run(settings, environ=os.environ, say=_say))


def migrate(*, data_dir: DataDirOption = Path(".modelstead"), database_url: DatabaseUrlOption = None) -> None:
    """Bring the database up to date without starting the platform. `up` does so by itself."""
    settings = UpSettings(data_dir=data_dir, database_url=_postgres_url(database_url))
    _explained(lambda: platform.migrate(settings, environ=os.environ, say=_say))


def _explained(command: Callable[[], None]) -> None:
    try:
        command()
    except LocalError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _say(text: str) -> None:
    print(text, flush=True)


def _postgres_url(url: str | None) -> str | None:
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise typer.BadParameter("--database-url must be of the form postgresql://user:password@host:port/database.")
    return url or None
