"""How a run's fields stand in tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelstead.commands.rest import Json
from modelstead.commands.screens import texts
from modelstead.commands.screens.cells import Cell, cell
from modelstead.commands.screens.sparklines import sparkline

NAME_STYLE = "bold"
ID_STYLE = "cyan"
CURVE_STYLE = "magenta"
_STATUSES = {
    "RUNNING": ("●", "blue"),
    "SCHEDULED": ("○", "dim"),
    "FINISHED": ("✓", "green"),
    "FAILED": ("✗", "red"),
    "KILLED": ("■", "yellow"),
}


def status(info: Json) -> Cell:
    """Return how far a run has come."""
    name = str(info.get("status", ""))
    sign, style = _STATUSES.get(name, ("?", ""))
    return Cell(shown=f"{sign} {name.lower()}", exact=name, style=style)


def took(info: Json, now_ms: int) -> Cell:
    """Return for how long a run has been going on, or went on; exactly, in seconds."""
    start_ms, end_ms = int(info.get("start_time") or 0), int(info.get("end_time") or 0)
    if not start_ms or not (end_ms or info.get("status") == "RUNNING"):
        return cell("")
    passed_ms = max((end_ms or now_ms) - start_ms, 0)
    return Cell(shown=texts.lasted(passed_ms), exact=f"{passed_ms / 1000:g}s")


def value(number: Any, style: str = "") -> Cell:
    """Return a metric's value, which may be none."""
    if number is None:
        return cell("")
    known = texts.to_number(number)
    return Cell(shown=texts.number(known), exact=texts.digits(known), style=style)


def curve(values: Sequence[float], width: int) -> Cell:
    """Return a curve."""
    return cell(sparkline(values, width), CURVE_STYLE)


def latest(run: Json) -> Mapping[str, Json]:
    """Return the latest point of each metric of a run."""
    return {point["key"]: point for point in run.get("data", {}).get("metrics", ())}


def entries(run: Json, kind: str) -> dict[str, str]:
    """Return the params or tags of a run."""
    return {one["key"]: one.get("value", "") for one in run.get("data", {}).get(kind, ())}
