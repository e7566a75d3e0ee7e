"""`runs show`: all that is known of a run."""

import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from modelstead.commands import options, settings
from modelstead.commands.output import told
from modelstead.commands.rest import Json, Rest, RestError
from modelstead.commands.runs import cells, finding, histories, ranks
from modelstead.commands.screens import texts
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.screen import Screen
from modelstead.commands.screens.tables import Column

_CURVE_WIDTH = 40
_WIDE = 100
# Each curve is a call.
_CURVES_MAX = 50
_OWN_TAG = "mlflow."
_NOTE_TAG = "mlflow.note.content"
_CONTEXT_TAG = "mlflow.data.context"


def show(
    run: options.Run,
    experiment: options.Experiment = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="PATTERN", help="Only these metrics: loss, 'val/*'; may be repeated."),
    ] = None,
    all_tags: Annotated[bool, typer.Option("--all-tags", help="MLflow's own tags as well.")] = False,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Show all that is known of a run, its metrics with their curves."""
    with told(as_json=as_json) as output:
        rest = Rest(settings.target(uri, token_file))
        found = finding.find_run(rest, run, experiment)
        info = found["info"]
        keys = _chosen(cells.latest(found), metric or ["*"])
        result = {
            "run": found,
            "experiment": rest.get("experiments/get", {"experiment_id": info["experiment_id"]})["experiment"],
            "artifacts": _artifacts(rest, info["run_id"]),
            "ranks": ranks.read(rest, info["run_id"]),
            "metrics": histories.of_metrics(rest, info["run_id"], keys[:_CURVES_MAX], _CURVE_WIDTH),
        }
        output.draw(result, lambda screen: _draw(screen, result, keys, all_tags))


def _artifacts(rest: Rest, run_id: str) -> Json:
    """Return the files at the run's root, or why they cannot be told: the rest of the run can."""
    try:
        return rest.get("artifacts/list", {"run_id": run_id})
    except RestError as error:
        return {"error": error.message}


def _chosen(metrics: Mapping[str, Json], patterns: Sequence[str]) -> list[str]:
    """Return the keys that fit a pattern, those that MLflow measures of the machine at the end."""
    keys = [key for key in metrics if any(fnmatchcase(key, pattern) for pattern in patterns)]
    return sorted(keys, key=lambda key: (key.startswith("system/"), key))


def _draw(screen: Screen, result: Json, keys: Sequence[str], all_tags: bool) -> None:
    run, now_ms = result["run"], time.time_ns() // 1_000_000
    info, tags = run["info"], cells.entries(run, "tags")
    screen.line((info.get("run_name") or info["run_id"], cells.NAME_STYLE))
    deleted = info.get("lifecycle_stage") == "deleted"
    experiment = result["experiment"]
    screen.facts(
        [
            ("status", cells.status(info)),
            ("deleted", cell("yes" if deleted else "", "red")),
            ("id", cell(info["run_id"], cells.ID_STYLE)),
            ("experiment", cell(f"{experiment['name']} ({experiment['experiment_id']})")),
            ("user", cell(info.get("user_id", ""))),
            ("started", moment(info.get("start_time"), now_ms)),
            ("ended", moment(info.get("end_time"), now_ms)),
            ("took", cells.took(info, now_ms)),
            ("note", cell(tags.get(_NOTE_TAG, ""))),
        ]
    )
    _draw_entries(screen, "Params", cells.entries(run, "params"))
    _draw_metrics(screen, run, result["metrics"], keys, now_ms)
    if of_run := result["ranks"]:
        screen.title("Ranks")
        summary = ranks.summary(of_run)
        screen.line((summary.shown, summary.style))
        if rows := ranks.rows(of_run, now_ms):
            screen.table(ranks.COLUMNS, rows)
    _draw_entries(screen, "Tags", {key: tags[key] for key in tags if all_tags or not key.startswith(_OWN_TAG)})
    _draw_artifacts(screen, result["artifacts"])
    _draw_inputs(screen, run)


def _draw_entries(screen: Screen, title: str, entries: Mapping[str, str]) -> None:
    if entries:
        screen.title(title)
        screen.facts([(key, cell(entries[key])) for key in sorted(entries)])


def _draw_metrics(screen: Screen, run: Json, sampled: Sequence[Json], keys: Sequence[str], now_ms: int) -> None:
    if not keys:
        return
    screen.title("Metrics")
    columns = [
        Column(title="metric", width_min=12),
        Column(title="curve"),
        Column(title="latest", is_right=True, style="bold"),
        Column(title="step", is_right=True),
        Column(title="logged", rank=1),
    ]
    latest, curves = cells.latest(run), histories.values_by("key", sampled)
    width = _CURVE_WIDTH if screen.width >= _WIDE else _CURVE_WIDTH // 2
    rows = [
        [
            cell(key),
            cells.curve(curves.get(key, ()), width),
            cells.value(latest[key]["value"]),
            cell(latest[key].get("step", 0)),
            moment(latest[key].get("timestamp"), now_ms),
        ]
        for key in keys
    ]
    screen.table(columns, rows)
    if len(keys) > _CURVES_MAX:
        screen.note(f"The first {_CURVES_MAX} of {len(keys)} metrics have a curve; --metric chooses others.")


def _draw_artifacts(screen: Screen, artifacts: Json) -> None:
    files = artifacts.get("files", [])
    if error := artifacts.get("error"):
        screen.note(f"The artifacts cannot be told: {error}")
    if files:
        screen.title("Artifacts")
        screen.line((artifacts.get("root_uri", ""), "dim"))
        columns = [Column(title="path", width_min=20), Column(title="size", is_right=True)]
        screen.table(columns, [_file_row(file) for file in files])


def _file_row(file: Json) -> list[Cell]:
    if file.get("is_dir"):
        return [cell(f"{file['path']}/", "blue"), cell("")]
    count = int(file.get("file_size", 0))
    return [cell(file["path"]), Cell(shown=texts.size(count), exact=str(count))]


def _draw_inputs(screen: Screen, run: Json) -> None:
    inputs, outputs = run.get("inputs", {}), run.get("outputs", {})
    rows = [
        [cell("data set"), cell(f"{one['dataset']['name']} ({one['dataset']['digest']})"), cell(_context(one))]
        for one in inputs.get("dataset_inputs", ())
    ]
    rows += [[cell("model used"), cell(one["model_id"]), cell("")] for one in inputs.get("model_inputs", ())]
    rows += [
        [cell("model made"), cell(one["model_id"]), cell(f"step {one.get('step', 0)}")]
        for one in outputs.get("model_outputs", ())
    ]
    if rows:
        screen.title("Inputs and outputs")
        screen.table([Column(title="what"), Column(title="which", width_min=20), Column(title="as")], rows)


def _context(dataset_input: Json) -> str:
    return next((tag.get("value", "") for tag in dataset_input.get("tags", ()) if tag["key"] == _CONTEXT_TAG), "")
