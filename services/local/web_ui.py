"""`modelstead ui`: installs the wheel of MLflow whose built pages the gateway serves, from a lock of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.common import web_ui
from services.local.commands import explained, say
from services.local.errors import LocalError

LOCK = Path(__file__).with_name("requirements-ui.lock")

app = typer.Typer(
    help="MLflow's web UI, which the gateway serves once it is installed.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _ui() -> None:
    """Leave `install` a sub-command, though it is the only one."""


@app.command()
def install(
    *,
    folder: Annotated[
        Path,
        typer.Option(
            envvar="MODELSTEAD_UI_FOLDER", file_okay=False, help="Where to; the gateway needs MODELSTEAD_UI_FOLDER too."
        ),
    ] = web_ui.FOLDER,
) -> None:
    """Install MLflow's wheel, without what its code needs: nothing of it is run, only its pages are served."""
    explained(lambda: _install(folder))
    say(f"The web UI is installed in {folder}. The gateway serves it from its next start on.")


def _install(folder: Path) -> None:
    arguments = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--upgrade", "--require-hashes"]
    done = subprocess.run(  # noqa: S603 - every word of it is ours, but for a folder of the user's
        [sys.executable, "-m", "pip", "install", *arguments, "--target", str(folder), "--requirement", str(LOCK)],
        check=False,
    )
    if done.returncode != 0:
        raise LocalError("The web UI could not be installed; pip has said why.")
