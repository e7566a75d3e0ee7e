"""What a command prints: a few lines or a table for people, one JSON document for programs."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer
from rich.table import Table

from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.screens.cells import cell
from modelstead.commands.screens.screen import Screen
from modelstead.commands.screens.tables import Column
from modelstead.commands.screens.texts import plain
from modelstead.commands.times import written


class Output:
    """Where a command tells its result."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def tell(self, result: Any, *lines: str) -> None:
        """Print a result: the document, or lines for people."""
        if self.as_json:
            typer.echo(json.dumps(result, indent=2))
        else:
            for line in lines:
                typer.echo(plain(line))

    def table(self, result: Any, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a result: the document, or a table for people, whose cells are folded to fit a terminal."""
        if self.as_json:
            typer.echo(json.dumps(result, indent=2))
            return
        screen = Screen()
        if not screen.is_terminal:
            screen.table([Column(title=title) for title in columns], [list(map(cell, row)) for row in rows])
            return
        table = Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(plain, row))
        screen.console.print(table)

    def draw(self, result: Any, drawing: Callable[[Screen], None]) -> None:
        """Print a result: the document, or what is drawn for people."""
        if self.as_json:
            typer.echo(json.dumps(result, indent=2))
        else:
            drawing(Screen())


@contextlib.contextmanager
def told(*, as_json: bool) -> Iterator[Output]:
    """Give a command its output, and turn its errors into a message and an exit code."""
    try:
        yield Output(as_json=as_json)
    except CommandError as error:
        if as_json:
            typer.echo(json.dumps({"error": error.message, "exit_code": int(error.code)}, indent=2))
        else:
            typer.echo(plain(error.message), err=True)
        raise typer.Exit(int(error.code)) from error


def end(code: Exit) -> None:
    """End the command with a code; 0 needs no ending."""
    if code is not Exit.DONE:
        raise typer.Exit(int(code))


def when(milliseconds: Any) -> str:
    """Return a time as people read it."""
    return written(int(milliseconds), "%Y-%m-%d %H:%M:%SZ") if milliseconds else ""
