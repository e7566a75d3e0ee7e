"""`runs watch`: a run as it goes on, until it ends."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.live import Live

from modelstead.commands import events, options
from modelstead.commands.events import Event
from modelstead.commands.exits import Exit
from modelstead.commands.output import end, told
from modelstead.commands.rest import Json, Rest, RestError
from modelstead.commands.runs import cells, finding, ranks, watch_drawing
from modelstead.commands.runs.watch_drawing import Beside
from modelstead.commands.runs.watched import WatchedRun
from modelstead.commands.screens.screen import Screen
from modelstead.commands.settings import target

_REFRESHES_A_SECOND = 4
_RANKS_EVERY_S = 5.0
_STEPS_PARAMS = ("max_steps", "total_steps", "num_steps")
_INTERRUPTED = 130


def watch(
    run: options.Run,
    experiment: options.Experiment = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="KEY", help="Only this metric; may be repeated. Default: up to 250."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many steps it takes. Default: its parameter max_steps, total_steps or num_steps.",
            show_default=False,
        ),
    ] = None,
    every_point: Annotated[
        bool, typer.Option("--every-point", help="Every point from the first on, instead of samples.")
    ] = False,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Watch a run until it ends.

    Exit code 0 if it finished, 1 if it failed or was killed, 130 on Ctrl-C. A pipe gets a line for each change; with
    --json a line is an event's document.
    """
    with told(as_json=as_json) as output:
        where = target(uri, token_file)
        rest = Rest(where)
        found = finding.find_run(rest, run, experiment)
        query = {"run_id": found["info"]["run_id"], "metric_keys": metric, "every_point": every_point or None}
        watched = WatchedRun(time.monotonic)
        coming = events.follow(rest, "runs/watch", query)
        try:
            if output.as_json:
                _pass_on(watched, coming)
            elif not Screen().is_terminal:
                _tell(watched, coming, every_point)
            else:
                _show(watched, coming, Rest(where, tries=1), found, steps)
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        end(Exit.DONE if watched.status == "FINISHED" else Exit.FAILED)


def _steps_of(run: Json) -> int | None:
    params = cells.entries(run, "params")
    known = (params.get(name, "") for name in _STEPS_PARAMS)
    return next((int(text) for text in known if text.isascii() and text.isdigit() and int(text) > 0), None)


def _pass_on(watched: WatchedRun, coming: Iterator[Event]) -> None:
    for event in coming:
        if event.kind:
            typer.echo(json.dumps(event.data))
        if _take(watched, event):
            return


def _show(watched: WatchedRun, coming: Iterator[Event], rest: Rest, run: Json, steps: int | None) -> None:
    """Draw the run four times a second, while its events come."""
    screen, lock = Screen(), threading.Lock()
    beside = Beside(steps=steps or _steps_of(run))
    look_again_s = time.monotonic()

    def draw() -> RenderableType:
        with lock:
            return watch_drawing.screen(watched, beside, screen.width, _now_ms())

    with Live(get_renderable=draw, console=screen.console, refresh_per_second=_REFRESHES_A_SECOND):
        for event in coming:
            with lock:
                beside.away = event.away
                is_last = _take(watched, event)
            if is_last or time.monotonic() >= look_again_s:
                beside.ranks = _ranks(rest, run, beside.ranks)
                look_again_s = time.monotonic() + _RANKS_EVERY_S
            if is_last:
                return


def _ranks(rest: Rest, run: Json, before: Sequence[Json]) -> Sequence[Json]:
    try:
        return ranks.read(rest, run["info"]["run_id"])
    except RestError:
        # The watch itself tells if the platform is away.
        return before


def _tell(watched: WatchedRun, coming: Iterator[Event], every_point: bool) -> None:
    for event in coming:
        for line in watch_drawing.lines(event, _now_ms(), every_point=every_point):
            typer.echo(line)
        if _take(watched, event):
            return


def _take(watched: WatchedRun, event: Event) -> bool:
    """Take an event, and return whether it is the last one."""
    if not event.away:
        watched.tell(event.kind, event.data)
    return watched.is_over


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
