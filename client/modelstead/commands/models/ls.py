"""`models ls`: which registered models there are, and where their versions stand."""

import time
from collections import Counter
from typing import Annotated

import typer

from modelstead.commands import options, pages
from modelstead.commands.models import cells, requests
from modelstead.commands.output import told
from modelstead.commands.rest import Json, Rest
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.screen import Screen
from modelstead.commands.screens.tables import Column
from modelstead.commands.settings import target

_COLUMNS = (
    Column(title="model", width_min=16, style=cells.NAME_STYLE),
    Column(title="newest", is_right=True),
    Column(title="stages", width_min=24),
    Column(title="aliases", width_min=16),
    Column(title="requests", is_right=True),
    Column(title="updated", rank=1),
    Column(title="description", width_min=16, rank=2),
)


def ls(
    filter_text: Annotated[
        str | None,
        typer.Option(
            "--filter", "-f", help="As in MLflow: name ILIKE '%fraud%' AND tags.team = 'risk'.", show_default=False
        ),
    ] = None,
    order_by: Annotated[
        list[str] | None, typer.Option("--order-by", "-o", help="As in MLflow: name, timestamp DESC; may be repeated.")
    ] = None,
    limit: options.Limit = 20,
    page_token: options.PageToken = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """List models with their stages, aliases and open requests."""
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        query = {"filter": filter_text, "order_by": order_by}
        result = pages.collect(
            lambda page: rest.get("registered-models/search", {**query, **page}),
            "registered_models",
            limit=limit,
            page_token=page_token,
        )
        result["requests"] = requests.search(rest) if result["registered_models"] else []
        output.draw(result, lambda screen: _draw(screen, result))


def _draw(screen: Screen, result: Json) -> None:
    models = result["registered_models"]
    if not models:
        screen.note("There are no such models.")
        return
    counts, now_ms = Counter(one["name"] for one in result["requests"]), time.time_ns() // 1_000_000
    screen.table(_COLUMNS, [_row(model, counts[model["name"]], now_ms) for model in models])
    screen.more(result)


def _row(model: Json, count: int, now_ms: int) -> list[Cell]:
    aliases = " ".join(f"@{one['alias']}:{one['version']}" for one in model.get("aliases", ()))
    return [
        cell(model["name"]),
        cell(cells.newest(model)),
        cells.stages(model.get("latest_versions", ())),
        cell(aliases, "cyan"),
        Cell(shown=str(count or ""), exact=str(count), style="yellow"),
        moment(model.get("last_updated_timestamp"), now_ms),
        cell(model.get("description", ""), "dim"),
    ]
