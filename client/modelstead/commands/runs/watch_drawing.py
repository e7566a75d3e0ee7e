"""How a watched run looks: all of it in a terminal, what is new in a pipe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from modelstead.commands.events import Event
from modelstead.commands.rest import Json
from modelstead.commands.runs import cells
from modelstead.commands.runs.ranks import summary
from modelstead.commands.runs.watched import Course, WatchedRun
from modelstead.commands.screens import tables, texts
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.sparklines import bar, by_step, sparkline
from modelstead.commands.screens.tables import Column

_BAR_WIDTH = 24
_CURVE_WIDTH_MIN, _CURVE_WIDTH_MAX = 16, 60
# What stands beside a curve.
_BESIDE = 48
_METRICS = (
    Column(title="metric", width_min=12),
    Column(title="curve"),
    Column(title="latest", is_right=True, style="bold"),
    Column(title="step", is_right=True),
    Column(title="logged", rank=1),
)


@dataclass(kw_only=True)
class Beside:
    """What the watch does not tell: how many steps the run takes, its ranks, and why nothing comes."""

    steps: int | None
    ranks: Sequence[Json] = ()
    away: str = ""


def screen(watched: WatchedRun, beside: Beside, width: int, now_ms: int) -> RenderableType:
    """Return everything, for a terminal of some width."""
    away = texts.one_line(beside.away)
    if not watched.run:
        return Text(away or "Waiting for the run …", "dim")
    run = watched.run
    status = cells.status(run)
    parts: list[RenderableType] = [
        Text.assemble(
            (texts.one_line(run.get("run_name", "")), cells.NAME_STYLE), "  ", (status.shown, status.style), "  ",
            f"{cells.took(run, now_ms).shown}  ", (run["run_id"], "dim"),
            no_wrap=True, overflow="ellipsis",
        ),
        *map(Text, _pace(watched, beside.steps)),
    ]  # fmt: skip
    if beside.ranks:
        ranks = summary(beside.ranks)
        parts.append(Text(f"ranks: {ranks.shown}", ranks.style))
    if away:
        parts.append(Text(f"{away} Trying again …", "red"))
    if watched.courses:
        curve_width = min(max(width - _BESIDE, _CURVE_WIDTH_MIN), _CURVE_WIDTH_MAX)
        keys = sorted(watched.courses, key=lambda key: (key.startswith("system/"), key))
        rows = [_row(key, watched.courses[key], curve_width, now_ms) for key in keys]
        parts += [Text(), tables.fitted(_METRICS, rows, width)]
    return Group(*parts)


def lines(event: Event, now_ms: int, *, every_point: bool) -> Iterator[str]:
    """Yield what an event tells, in columns: when, of what, at which step, what it is. Of several points it is the last
    one, unless every one is wanted.
    """
    if event.away:
        yield _line(now_ms, "connection", "", event.away)
    elif event.kind == "run":
        yield _line(now_ms, "status", "", str(event.data["run"].get("status", "")))
    elif event.kind == "points":
        points = event.data["points"]
        told = list(zip(points.get("timestamps", ()), points.get("steps", ()), points.get("values", ()), strict=True))
        for timestamp, step, value in told if every_point else told[-1:]:
            yield _line(timestamp, points["key"], str(step), texts.digits(texts.to_number(value)))


def _line(at_ms: int, what: str, step: str, text: str) -> str:
    return f"{texts.exact(at_ms)}  {texts.one_line(what):<24}  {step or '-':>10}  {texts.one_line(text)}"


def _pace(watched: WatchedRun, steps: int | None) -> Iterator[str]:
    """Yield how far a run has come and how fast it goes on."""
    step, rate = watched.step, 0.0 if watched.is_over else watched.steps_per_s
    if steps is None:
        yield f"step {step}"
    else:
        left = f"  {texts.lasted(int((steps - step) / rate * 1000))} left" if rate and step < steps else ""
        yield f"step {step} of {steps}  {bar(step / steps, _BAR_WIDTH)} {min(step / steps, 1):.0%}{left}"
    if not watched.is_over:
        yield f"{texts.amount(watched.points_per_s)} points/s, {texts.amount(rate)} steps/s"


def _row(key: str, course: Course, curve_width: int, now_ms: int) -> list[Cell]:
    return [
        cell(key),
        cell(sparkline(by_step(course.steps, course.values, curve_width), curve_width), cells.CURVE_STYLE),
        cell(texts.number(course.latest)),
        cell(course.step),
        moment(course.timestamp, now_ms),
    ]
