"""`wait`: until a version is where it was to go, or will not get there."""

import time
from typing import Annotated

import typer

from modelstead.commands import options, states
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.output import told
from modelstead.commands.rest import Rest, RestError
from modelstead.commands.settings import target

_FAILED = "FAILED_REGISTRATION"


def wait(
    name: options.Name,
    version: options.Version,
    stage: options.Stage,
    timeout: Annotated[float, typer.Option(min=0, max=604_800, help="Give up after so many seconds.")] = 3600.0,
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Look every so many seconds.")] = 5.0,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Wait until a version is in a stage, or an alias points at it.

    Exit code 3 as soon as its request has been rejected, cancelled or has expired; 6 if it is not there in time; 7 if
    the platform does not answer in the end.
    """
    deadline = time.monotonic() + timeout
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        asked = False
        while True:
            away: RestError | None = None
            try:
                if states.is_at(rest, name, version, stage):
                    break
                asked = _still_asked(rest, name, version, stage, asked)
            except RestError as error:
                if error.code is not Exit.UNAVAILABLE:
                    raise
                away = error
            if time.monotonic() + every > deadline:
                raise away or CommandError(
                    f"{name} {version} is not at {stage} after {timeout:g} s"
                    + (", but is asked for." if asked else ", and nobody asks for it."),
                    Exit.PENDING,
                )
            time.sleep(every)
        output.tell({"name": name, "version": version, "stage": stage}, f"{name} {version} is at {stage}.")


def _still_asked(rest: Rest, name: str, version: str, stage: str, asked: bool) -> bool:
    """Return whether somebody asks for the move. Raises CommandError if nobody does any more."""
    found = states.get_version(rest, name, version)
    if found.get("status") == _FAILED:
        raise CommandError(f"{name} {version} failed to register: {found.get('status_message', '')}", Exit.FAILED)
    if states.open_requests(rest, name, version, stage):
        return True
    # It may have been moved between the two looks.
    if asked and not states.is_at(rest, name, version, stage):
        raise CommandError(
            f"The request to move {name} {version} to {stage} was rejected or cancelled, or has expired; "
            f"`modelstead model history {name} {version}` tells.",
            Exit.REFUSED,
        )
    return False
