"""`modelstead sync`: the command, with progress for people. modelstead.runs.sync does the work."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from modelstead.runs import settings
from modelstead.runs.settings import SettingsError

if TYPE_CHECKING:
    from modelstead.runs.sync import Outcome

_WATCH_S = 1.0
_FOLDER = typer.Argument(metavar="DIR", help="The spool; default: MODELSTEAD_SPOOL_DIR.")
_ADDRESS = typer.Option(help="Send to this host:port, not where the jobs were logging to.")
_STUCK_AFTER = typer.Option(help="Give up on a job after so many seconds without progress.")


def sync(
    folder: Annotated[Path | None, _FOLDER] = None,
    address: Annotated[str | None, _ADDRESS] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    stuck_after: Annotated[float, _STUCK_AFTER] = 30.0,
) -> None:
    """Send what training jobs that are gone have logged and could not send."""
    folder = folder or settings.spool_dir()
    told: list[str] = []
    while True:
        try:
            outcome = _pass(folder, address, stuck_after)
        except SettingsError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
        # Again and again it would be the same.
        news = [line for line in outcome.stuck if line not in told]
        told = outcome.stuck
        if not watch or outcome.sent or news:
            typer.echo(_told(outcome, folder))
        for line in news:
            typer.echo(f"not sent: {line}", err=True)
        if not watch:
            raise typer.Exit(1 if outcome.stuck else 0)
        time.sleep(_WATCH_S)


def _pass(folder: Path, address: str | None, stuck_s: float) -> "Outcome":
    # It loads gRPC, which no other command should pay for, `modelstead up` least of all.
    from modelstead.runs import sync as syncing

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as bars:

        def show(session_id: str, done: int, total: int) -> None:
            if session_id not in tasks:
                tasks[session_id] = bars.add_task(session_id[:8], total=total)
            bars.update(tasks[session_id], completed=done)

        return syncing.run(folder, address=address, progress=show, stuck_s=stuck_s)


def _told(outcome: "Outcome", folder: Path) -> str:
    parts = [f"{outcome.batches} batches of {outcome.sent} sessions sent from {folder}"]
    if outcome.busy:
        parts.append(f"{outcome.busy} sessions are of live processes, which send them themselves")
    if outcome.missing:
        parts.append(f"{outcome.missing} batches had been dropped, or are damaged")
    if outcome.rejected:
        parts.append(f"{outcome.rejected} batches were refused; they are in {folder / 'rejected'}")
    return "; ".join(parts) + "."
