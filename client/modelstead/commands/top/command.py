"""`modelstead top`: what the platform is doing, as it does it."""

import contextlib
import time
from typing import Annotated

import typer
from rich.live import Live

from modelstead.commands import options
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.output import Output, told
from modelstead.commands.rest import Rest
from modelstead.commands.screens.screen import Screen
from modelstead.commands.settings import target
from modelstead.commands.top import drawing
from modelstead.commands.top.reading import SERVICES, Reader, Reading


def top(
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Look every so many seconds.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Show what the platform is doing now: logging, registry, artifacts, runs under way.

    Refreshed until Ctrl-C; in a pipe, a line each time. --json looks once.
    """
    with told(as_json=as_json) as output:
        where = target(uri, token_file)
        # Who is away shows as being away, and is asked again soon enough.
        reader = Reader(Rest(where, tries=1), time.monotonic)
        if as_json or once:
            _show_once(output, reader, where.url)
            return
        # It is how one leaves.
        with contextlib.suppress(KeyboardInterrupt):
            _go_on(reader, where.url, every)


def _show_once(output: Output, reader: Reader, url: str) -> None:
    reading = reader.read()
    if not reading.told:
        raise CommandError(reading.failed[SERVICES[0]], Exit.UNAVAILABLE)
    failed = {service: {"error": error} for service, error in reading.failed.items()}
    result = {**reading.told, **failed, "runs": reader.runs()}
    output.draw(result, lambda screen: _draw(screen, reader, reading, url))


def _draw(screen: Screen, reader: Reader, reading: Reading, url: str) -> None:
    if screen.is_terminal:
        screen.console.print(drawing.screen(reader, reading, url, screen.width, _now_ms()))
    else:
        typer.echo(drawing.header())
        typer.echo(drawing.line(reader, _now_ms()))


def _go_on(reader: Reader, url: str, every_s: float) -> None:
    screen = Screen()
    if not screen.is_terminal:
        typer.echo(drawing.header())
        while True:
            reader.read()
            typer.echo(drawing.line(reader, _now_ms()))
            time.sleep(every_s)
    with Live(console=screen.console, auto_refresh=False) as live:
        while True:
            reading = reader.read()
            live.update(drawing.screen(reader, reading, url, screen.width, _now_ms()), refresh=True)
            time.sleep(every_s)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
