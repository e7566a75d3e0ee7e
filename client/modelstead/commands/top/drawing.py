"""How `top` looks: the services' figures, and the runs under way."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from modelstead.commands.rest import Json
from modelstead.commands.runs import cells as run_cells
from modelstead.commands.runs import ranks
from modelstead.commands.screens import tables, texts
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.sparklines import bar, sparkline
from modelstead.commands.screens.tables import Column
from modelstead.commands.top.reading import Reader, Reading

_CURVE_WIDTH, _BAR_WIDTH = 32, 16
_LAG_LONG_MS = 30_000
_FAILED, _CALM, _LOUD = "red", "", "yellow"
_RUNS = (
    Column(title="run", is_id=True, width_min=8, style=run_cells.ID_STYLE),
    Column(title="name", width_min=14, style=run_cells.NAME_STYLE),
    Column(title="experiment", width_min=10, rank=1),
    Column(title="started"),
    Column(title="ranks", is_right=True, rank=1),
    Column(title="user", width_min=6, rank=2),
)
# What a line of a pipe says, each under its name.
LINE = (
    ("points_per_second", 18), ("point_count", 12), ("session_count", 14), ("bytes_under_way", 16),
    ("waiting_count", 14), ("seal_lag_ms", 12), ("active_run_count", 17),
)  # fmt: skip


def screen(reader: Reader, reading: Reading, url: str, width: int, now_ms: int) -> RenderableType:
    """Return everything, for a terminal of some width."""
    parts: list[RenderableType] = [Text.assemble(("Modelstead", "bold"), f" at {texts.one_line(url)}"), Text()]
    for title, service, facts in (
        ("Logging", "tracking", _logging),
        ("Registry", "registry", _registry),
        ("Artifacts", "artifacts", _artifacts),
    ):
        parts.append(Text(title, "bold"))
        if error := reading.failed.get(service):
            parts.append(Text(texts.one_line(error), _FAILED))
        elif service in reading.told:
            told = reading.told[service]
            parts.append(tables.listed([*facts(reader, told), _process(reader, service, told, now_ms)], width))
        parts.append(Text())
    if runs := reader.runs():
        parts.append(Text("Runs under way", "bold"))
        parts.append(tables.fitted(_RUNS, [_run_row(run, now_ms) for run in runs], width))
    return Group(*parts)


def header() -> str:
    """Return the names of what a line of a pipe says."""
    return "time".ljust(20) + "".join(name.rjust(width + 1) for name, width in LINE)


def line(reader: Reader, now_ms: int) -> str:
    """Return a line of a pipe: what all replicas of tracking do now, or that none answers."""
    is_known = reader.replica_count("tracking") > 0
    figures = [f"{_of_all(reader, name):.10g}" if is_known else "-" for name, _ in LINE]
    padded = (figure.rjust(width + 1) for figure, (_, width) in zip(figures, LINE, strict=True))
    return texts.exact(now_ms).ljust(20) + "".join(padded)


def _of_all(reader: Reader, name: str) -> float:
    """Return what all replicas of tracking do together, or how late the latest is."""
    return (reader.most if name.endswith("_lag_ms") else reader.total)("tracking", name)


def _logging(reader: Reader, told: Json) -> list[tuple[str, Cell]]:
    rate = reader.sample("tracking", "points_per_second")
    under_way, most = (reader.total("tracking", f"bytes_under_way{end}") for end in ("", "_max"))
    waiting, lag_ms = (_of_all(reader, name) for name in ("waiting_count", "seal_lag_ms"))
    filled = bar(under_way / (most or 1), _BAR_WIDTH)
    unsealed = f"{texts.amount(told.get('unsealed_point_count', 0))} points"
    return [
        ("points/s", _curve(texts.amount(rate[-1]), rate)),
        ("points", cell(f"{texts.amount(reader.total('tracking', 'point_count'))} since it began")),
        ("sessions", cell(texts.amount(reader.total("tracking", "session_count")))),
        ("under way", cell(f"{filled} {texts.size(under_way)} of {texts.size(most)}")),
        ("waiting", cell(texts.amount(waiting), _LOUD if waiting else _CALM)),
        ("unsealed", cell(unsealed + _oldest(int(lag_ms)), _LOUD if lag_ms > _LAG_LONG_MS else _CALM)),
        ("runs", cell(f"{_of_all(reader, 'active_run_count'):.0f} logged in the last minute")),
        ("tables", cell(texts.size(told.get("table_bytes", 0)))),
    ]


def _registry(reader: Reader, told: Json) -> list[tuple[str, Cell]]:
    pending, dead = told.get("pending_delivery_count", 0), told.get("dead_delivery_count", 0)
    lag = _oldest(int(told.get("delivery_lag_ms", 0)))
    models, versions = (texts.amount(told.get(f"{what}_count", 0)) for what in ("model", "version"))
    return [
        ("models", cell(f"{models} with {versions} versions")),
        ("watches", cell(texts.amount(reader.total("registry", "watch_count")))),
        ("webhooks", cell(f"{pending} to send{lag}, {dead} given up", _LOUD if dead else _CALM)),
        ("tables", cell(texts.size(told.get("table_bytes", 0)))),
    ]


def _artifacts(reader: Reader, told: Json) -> list[tuple[str, Cell]]:
    going_in, going_out = (reader.sample("artifacts", f"bytes_{way}_per_second") for way in ("in", "out"))
    objects, stored = texts.amount(told.get("object_count", 0)), texts.size(told.get("object_bytes", 0))
    return [
        ("stored", cell(f"{objects} objects, {stored}")),
        ("in", _curve(f"{texts.size(going_in[-1])}/s", going_in)),
        ("out", _curve(f"{texts.size(going_out[-1])}/s", going_out)),
        ("uploads", cell(f"{told.get('pending_upload_count', 0)} begun and not completed")),
    ]


def _process(reader: Reader, service: str, told: Json, now_ms: int) -> tuple[str, Cell]:
    process = told.get("process", {})
    count = reader.replica_count(service)
    began = moment(_milliseconds(process.get("start_time")), now_ms).shown
    replicas = f"{count} replicas, " if count > 1 else ""
    return ("process", cell(f"{replicas}{process.get('version', '')}, began {began}", "dim"))


def _oldest(lag_ms: int) -> str:
    return f", the oldest for {texts.lasted(lag_ms)}" if lag_ms else ""


def _curve(now: str, values: Sequence[float]) -> Cell:
    return cell(f"{now:<10} {sparkline(values[-_CURVE_WIDTH:], _CURVE_WIDTH, floor=0)}")


def _run_row(run: Json, now_ms: int) -> list[Cell]:
    info = run["info"]
    return [
        cell(info["run_id"]),
        cell(info.get("run_name", "")),
        cell(run["experiment_name"]),
        moment(info.get("start_time"), now_ms),
        ranks.count(run["ranks"]),
        cell(info.get("user_id", "")),
    ]


def _milliseconds(time: Any) -> int:
    """Return a time of ours, which is ISO 8601 in JSON, as MLflow's are."""
    if not time:
        return 0
    return int(datetime.fromisoformat(str(time)).timestamp() * 1000)
