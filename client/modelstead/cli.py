"""The `modelstead` command. Its sub-commands are ours and what installed distributions register under
`modelstead.commands`; each is imported when it is called, and never for the sake of another.
"""

from collections import UserDict
from dataclasses import dataclass
from importlib import metadata
from importlib.metadata import EntryPoint
from typing import Annotated, Any

import modelstead

try:
    import typer
    from typer.core import TyperGroup
except ModuleNotFoundError as error:
    raise SystemExit(f"The `modelstead` command needs {error.name}: `pip install 'modelstead[cli]'`.") from error


ENTRY_POINT_GROUP = "modelstead.commands"

_SERVER_DISTRIBUTION = "modelstead-server"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A sub-command as `--help` tells of it without importing it. Without `where`, another distribution brings it."""

    help: str
    where: str = ""


SECTIONS: dict[str, dict[str, Listed]] = {
    "Look": {
        "runs": Listed(help="List, show, compare and watch runs.", where="modelstead.commands.runs.group:app"),
        "models": Listed(help="List and show registered models.", where="modelstead.commands.models.group:app"),
        "top": Listed(help="Show what the platform is doing now.", where="modelstead.commands.top.command:top"),
        "doctor": Listed(
            help="Examine a platform from outside: what is wrong, and what to do.",
            where="modelstead.commands.doctor.command:doctor",
        ),
    },
    "Act": {
        "model": Listed(
            help="Promote model versions: ask, approve, release, wait.", where="modelstead.commands.model:app"
        ),
        "sync": Listed(
            help="Send what training jobs that are gone could not send.", where="modelstead.commands.sync:sync"
        ),
    },
    "Run the platform": {
        "up": Listed(help="Run all of the platform on this machine until Ctrl-C."),
        "migrate": Listed(help="Bring the database up to date without starting it."),
        "backup": Listed(help="Back up the platform while it runs."),
        "restore": Listed(help="Restore a backup into a new data folder."),
        "gc": Listed(help="Purge for good what was deleted long ago."),
        "fsck": Listed(help="Compare what is recorded of artifacts with what is stored."),
        "ui": Listed(help="Install MLflow's web UI, which the gateway then serves."),
    },
}
_OTHERS = "More"
_EPILOG = (
    "`runs`, `models`, `top`, `doctor` and `model` find the platform by MLFLOW_TRACKING_URI and call it with "
    "MLFLOW_TRACKING_TOKEN, or with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
)
_ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def main() -> None:
    """Run the command line."""
    application()()


def application() -> typer.Typer:
    """Return the application with every sub-command that is installed."""
    app = typer.Typer(
        name="modelstead",
        cls=_Commands,
        help="A self-hosted ML lifecycle platform that MLflow clients talk to.",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        # A trace that shows local variables would show passwords.
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    return app


class _Commands(TyperGroup):
    """The sub-commands, in sections."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._installed = _Installed()
        self.commands = self._installed

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._installed)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in SECTIONS.items():
            rows = [(name, one.help) for name, one in commands.items() if self._installed.has(name)]
            _write_section(formatter, title, rows)
        others = [(name, self.commands[name].get_short_help_str()) for name in self._installed.others()]
        _write_section(formatter, _OTHERS, others)


class _Installed(UserDict[str, Any]):
    """Commands by name, each imported as it is taken. Those of a distribution that is not here say so."""

    def __init__(self) -> None:
        registered = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)}
        listed = {name: _entry(name, one) for commands in SECTIONS.values() for name, one in commands.items()}
        super().__init__({**listed, **dict(sorted(registered.items()))})

    def __getitem__(self, name: str) -> Any:
        return _load(name, self.data[name])

    def has(self, name: str) -> bool:
        """Return whether a command is one that can do its work here."""
        return self.data[name] is not None

    def others(self) -> list[str]:
        """Return the commands that no section names."""
        return [name for name in self.data if not any(name in commands for commands in SECTIONS.values())]


def _entry(name: str, one: Listed) -> EntryPoint | None:
    return EntryPoint(name=name, value=one.where, group=ENTRY_POINT_GROUP) if one.where else None


def _load(name: str, entry: EntryPoint | None) -> Any:
    loaded = entry.load() if entry else None
    if isinstance(loaded, typer.Typer):
        return typer.main.get_group(loaded)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if loaded:
        app.command(name)(loaded)
    else:
        app.command(name, hidden=True, context_settings=_ANY_ARGUMENTS)(_needs_server)
    return typer.main.get_command(app)


def _write_section(formatter: Any, title: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


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
