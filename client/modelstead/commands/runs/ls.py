"""`runs ls`: which runs there are, with what people want to see of them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from modelstead.commands import options, pages, settings
from modelstead.commands.output import told
from modelstead.commands.rest import Json, Rest
from modelstead.commands.runs import cells, finding, histories
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.screen import Screen
from modelstead.commands.screens.tables import Column

_CURVE_WIDTH = 16
# So many metrics are shown where nobody has said which.
_METRICS_UNASKED = 3
_SYSTEM_METRIC = "system/"

_Keys = list[str] | None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What of each run is shown."""

    metrics: Sequence[str]
    params: Sequence[str]
    tags: Sequence[str]
    curve: str | None

    @property
    def is_anything(self) -> bool:
        return bool(self.metrics or self.params or self.tags)


def ls(
    experiment: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXPERIMENT]",
            help="Its name or id. Default: MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME, else all.",
            show_default=False,
        ),
    ] = None,
    filter_text: Annotated[
        str | None,
        typer.Option(
            "--filter", "-f", help="As in MLflow: metrics.loss < 0.1 AND params.lr = '0.01'.", show_default=False
        ),
    ] = None,
    order_by: Annotated[
        _Keys, typer.Option("--order-by", "-o", help="As in MLflow: metrics.loss ASC; may be repeated.")
    ] = None,
    metric: Annotated[_Keys, typer.Option("--metric", "-m", metavar="KEY", help="Show this metric.")] = None,
    param: Annotated[_Keys, typer.Option("--param", "-p", metavar="KEY", help="Show this parameter.")] = None,
    tag: Annotated[_Keys, typer.Option("--tag", "-t", metavar="KEY", help="Show this tag.")] = None,
    curve: Annotated[
        str | None,
        typer.Option("--curve", "-c", metavar="KEY", help="Show this metric and its curve.", show_default=False),
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Show deleted runs, and no others.")] = False,
    limit: options.Limit = 20,
    page_token: options.PageToken = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """List runs, the newest first."""
    metrics = dict.fromkeys([*(metric or ()), *([curve] if curve else ())])
    asked = _Asked(metrics=list(metrics), params=param or (), tags=tag or (), curve=curve)
    with told(as_json=as_json) as output:
        rest = Rest(settings.target(uri, token_file))
        chosen = experiment or settings.experiment()
        experiments = [finding.find_experiment(rest, chosen)] if chosen else finding.list_experiments(rest)
        body = {
            "experiment_ids": [one["experiment_id"] for one in experiments],
            "filter": filter_text,
            "order_by": order_by,
            "run_view_type": "DELETED_ONLY" if deleted else None,
        }
        result = pages.collect(
            lambda page: rest.post("runs/search", {**body, **page}, may_repeat=True),
            "runs",
            limit=limit,
            page_token=page_token,
        )
        if curve:
            run_ids = [run["info"]["run_id"] for run in result["runs"]]
            result["metrics"] = histories.of_runs(rest, run_ids, curve, _CURVE_WIDTH)
        names = {one["experiment_id"]: one["name"] for one in experiments}
        output.draw(result, lambda screen: _draw(screen, result, asked, names))


def _draw(screen: Screen, result: Json, asked: _Asked, names: Mapping[str, str]) -> None:
    runs = result["runs"]
    if not runs:
        screen.note("There are no such runs.")
        return
    fields = _fields(runs, asked, screen)
    fixed = _fixed_columns(len(names) > 1)
    now_ms = time.time_ns() // 1_000_000
    curves = histories.values_by("run_id", result.get("metrics", ()))
    rows = [
        [
            *_fixed_cells(run["info"], names if len(names) > 1 else {}, now_ms),
            *(_field_cell(run, kind, key) for kind, key in fields),
            *([cells.curve(curves.get(run["info"]["run_id"], ()), _CURVE_WIDTH)] if asked.curve else ()),
        ]
        for run in runs
    ]
    rank = 0 if asked.is_anything else 4
    columns = [*fixed, *(_field_column(kind, key, rank) for kind, key in fields)]
    if asked.curve:
        columns.append(Column(title=f"{asked.curve} curve"))
    screen.table(columns, rows)
    screen.more(result)


def _fixed_columns(with_experiment: bool) -> list[Column]:
    experiment = [Column(title="experiment", width_min=8, rank=2)] if with_experiment else []
    return [
        Column(title="run", is_id=True, width_min=8, style=cells.ID_STYLE),
        Column(title="name", width_min=14, style=cells.NAME_STYLE),
        *experiment,
        Column(title="status"),
        Column(title="started", rank=1),
        Column(title="took", rank=3),
        Column(title="user", width_min=6, rank=5),
    ]


def _fixed_cells(info: Json, names: Mapping[str, str], now_ms: int) -> list[Cell]:
    return [
        cell(info["run_id"]),
        cell(info.get("run_name", "")),
        *([cell(names.get(info["experiment_id"], info["experiment_id"]))] if names else ()),
        cells.status(info),
        moment(info.get("start_time"), now_ms),
        cells.took(info, now_ms),
        cell(info.get("user_id", "")),
    ]


def _fields(runs: Sequence[Json], asked: _Asked, screen: Screen) -> list[tuple[str, str]]:
    """Return which metrics, params and tags are shown. What a pipe gets depends on nothing but what was asked for."""
    if asked.is_anything or not screen.is_terminal:
        return [
            *(("metrics", key) for key in asked.metrics),
            *(("params", key) for key in asked.params),
            *(("tags", key) for key in asked.tags),
        ]
    counts = Counter(key for run in runs for key in cells.latest(run) if not key.startswith(_SYSTEM_METRIC))
    most = sorted(counts, key=lambda key: (-counts[key], key))[:_METRICS_UNASKED]
    return [("metrics", key) for key in most]


def _field_column(kind: str, key: str, rank: int) -> Column:
    return Column(title=key, is_right=kind == "metrics", width_min=None if kind == "metrics" else 6, rank=rank)


def _field_cell(run: Json, kind: str, key: str) -> Cell:
    if kind == "metrics":
        return cells.value(cells.latest(run).get(key, {}).get("value"))
    return cell(cells.entries(run, kind).get(key, ""))
