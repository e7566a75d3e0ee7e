"""The `modelstead` command. Its sub-commands are what installed distributions register under `modelstead.commands`."""

from importlib import metadata
from typing import Annotated

import modelstead

try:
    import typer

    from modelstead.commands import model
    from modelstead.commands.sync import sync
except ModuleNotFoundError as error:
    raise SystemExit(f"The `modelstead` command needs {error.name}: `pip install 'modelstead[cli]'`.") from error


ENTRY_POINT_GROUP = "modelstead.commands"

_SERVER_DISTRIBUTION = "modelstead-server"
_SERVER_COMMANDS = ("fsck", "gc", "migrate", "ui", "up")


def main() -> None:
    """Run the command line."""
    application()()


def application() -> typer.Typer:
    """Return the application with every sub-command that is installed."""
    app = typer.Typer(
        name="modelstead",
        help="A self-hosted ML lifecycle platform that MLflow clients talk to.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        # A trace that shows local variables would show passwords.
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    app.add_typer(model.app, name="model")
    app.command("sync")(sync)
    commands = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}
    for name, entry in sorted(commands.items()):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    for name in _SERVER_COMMANDS:
        if name not in commands:
            app.command(name, hidden=True, context_settings=_ANY_ARGUMENTS)(_needs_server)
    return app


_ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def _needs_server(context: typer.Context) -> None:
    typer.echo(
        f"`modelstead {context.info_name}` runs the platform, which is not installed here: "
        f"`pip install {_SERVER_DISTRIBUTION}`.",
        err=True,
    )
    raise typer.Exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"modelstead {modelstead.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
