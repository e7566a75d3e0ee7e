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
_HOSTS_TOLD = 5
_FOLDER = typer.Argument(metavar="DIR", help="The spool; default: MODELSTEAD_SPOOL_DIR.")
_ADDRESS = typer.Option(help="Send to this host:port, not where the jobs were logging to.")
_OTHER_HOSTS = typer.Option(
    "--other-hosts", help="Send also what jobs on other hosts have left; only if those jobs are gone."
)
_STUCK_AFTER = typer.Option(help="Give up on a job after so many seconds without progress.")


def sync(
    folder: Annotated[Path | None, _FOLDER] = None,
    address: Annotated[str | None, _ADDRESS] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    stuck_after: Annotated[float, _STUCK_AFTER] = 30.0,
    other_hosts: Annotated[bool, _OTHER_HOSTS] = False,
) -> None:
    """Send what training jobs that are gone have logged and could not send.

    What jobs on other hosts have left in a shared folder is sent only if that is asked for, as it cannot be seen from
    here whether they live. The exit code is 1 if anything was left.
    """
    folder = folder or settings.spool_dir()
    told: list[str] = []
    while True:
        try:
            outcome = _pass(folder, address, stuck_after, other_hosts)
        except SettingsError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
        left = [*outcome.stuck, *_elsewhere(outcome)]
        # Again and again it would be the same.
        news = [line for line in left if line not in told]
        told = left
        if not watch or outcome.sent or news:
            typer.echo(_told(outcome, folder))
        for line in news:
            typer.echo(f"not sent: {line}", err=True)
        if not watch:
            raise typer.Exit(1 if left else 0)
        time.sleep(_WATCH_S)


def _pass(folder: Path, address: str | None, stuck_s: float, other_hosts: bool) -> "Outcome":
    # It loads gRPC, which no other command should pay for, `modelstead up` least of all.
    from modelstead.runs import sync as syncing

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as bars:

        def show(session_id: str, done: int, total: int) -> None:
            if session_id not in tasks:
                tasks[session_id] = bars.add_task(session_id[:8], total=total)
            bars.update(tasks[session_id], completed=done)

        return syncing.run(folder, address=address, progress=show, stuck_s=stuck_s, other_hosts=other_hosts)


def _elsewhere(outcome: "Outcome") -> list[str]:
    """Return the line for what was left because other hosts wrote it, if there is any."""
    if not outcome.elsewhere:
        return []
    hosts = sorted(outcome.elsewhere)
    more = f" and {len(hosts) - _HOSTS_TOLD} more hosts" if len(hosts) > _HOSTS_TOLD else ""
    what = f"{outcome.elsewhere.total()} sessions that were written on {', '.join(hosts[:_HOSTS_TOLD])}{more}"
    return [f"{what}: their processes may live. Run it there, or with --other-hosts if you know that they are gone."]


def _told(outcome: "Outcome", folder: Path) -> str:
    parts = [f"{outcome.batches} batches of {outcome.sent} sessions sent from {folder}"]
    if outcome.busy:
        parts.append(f"{outcome.busy} sessions are of live processes, which send them themselves")
    if outcome.missing:
        parts.append(f"{outcome.missing} batches had been dropped, or are damaged")
    if outcome.rejected:
        lost = f", but for {outcome.rejected_lost} that are not kept" if outcome.rejected_lost else ""
        parts.append(f"{outcome.rejected} batches were refused; they are in {folder / 'rejected'}{lost}")
    return "; ".join(parts) + "."
