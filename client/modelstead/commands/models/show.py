"""`models show`: a registered model with its versions and what is asked for."""

import time
from collections.abc import Sequence

from modelstead.commands import options, pages
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.models import cells, requests
from modelstead.commands.output import told
from modelstead.commands.rest import Json, Rest, RestError
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.screen import Screen
from modelstead.commands.screens.tables import Column
from modelstead.commands.settings import target

_VERSIONS = (
    Column(title="version", is_right=True, style="bold"),
    Column(title="stage"),
    Column(title="aliases", width_min=12),
    Column(title="created", rank=1),
    Column(title="by", width_min=6, rank=2),
    Column(title="status", rank=3),
    Column(title="run", is_id=True, width_min=8, rank=4, style="cyan"),
    Column(title="source", width_min=20, rank=5),
    Column(title="description", width_min=16, rank=6),
)
_REQUESTS = (
    Column(title="version", is_right=True, style="bold"),
    Column(title="from", rank=3),
    Column(title="to"),
    Column(title="by", width_min=8),
    Column(title="asked", rank=1),
    Column(title="expires", rank=4),
    Column(title="approved by", width_min=8, rank=2),
    Column(title="comment", width_min=16, rank=5),
)


def show(
    name: options.Name,
    limit: options.Limit = 20,
    page_token: options.PageToken = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Show a model with its versions, aliases and open requests."""
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        model = _get(rest, name)
        query = {"filter": _named(name), "order_by": ["version_number DESC"]}
        page = pages.collect(
            lambda page: rest.get("model-versions/search", {**query, **page}),
            "model_versions",
            limit=limit,
            page_token=page_token,
        )
        result = {"registered_model": model, **page, "requests": requests.search(rest, name)}
        output.draw(result, lambda screen: _draw(screen, result))


def _get(rest: Rest, name: str) -> Json:
    try:
        model: Json = rest.get("registered-models/get", {"name": name})["registered_model"]
    except RestError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        message = f"There is no registered model {name!r}; `modelstead models ls` lists them."
        raise CommandError(message, Exit.NOT_FOUND) from error
    return model


def _named(name: str) -> str:
    quote = next((sign for sign in "'\"" if sign not in name), None)
    if quote is None:
        raise CommandError(f"{name!r} has both kinds of quotes, which no filter can name.", Exit.USAGE)
    return f"name = {quote}{name}{quote}"


def _draw(screen: Screen, result: Json) -> None:
    model, now_ms = result["registered_model"], time.time_ns() // 1_000_000
    screen.line((model["name"], cells.NAME_STYLE))
    screen.facts(
        [
            ("description", cell(model.get("description", ""))),
            ("created", moment(model.get("creation_timestamp"), now_ms)),
            ("updated", moment(model.get("last_updated_timestamp"), now_ms)),
            ("tags", cell(", ".join(f"{tag['key']}={tag.get('value', '')}" for tag in model.get("tags", ())))),
        ]
    )
    if versions := result["model_versions"]:
        screen.title("Versions")
        aliases = [(alias["version"], alias["alias"]) for alias in model.get("aliases", ())]
        rows = [_version_row(one, [name for of, name in aliases if of == one["version"]], now_ms) for one in versions]
        screen.table(_VERSIONS, rows)
    screen.more(result)
    if asked := result["requests"]:
        screen.title("Open requests")
        screen.table(_REQUESTS, [_request_row(one, now_ms) for one in asked])
        screen.note(f"`modelstead model approve {model['name']} VERSION STAGE` or `reject` decides.")


def _version_row(one: Json, aliases: Sequence[str], now_ms: int) -> list[Cell]:
    is_ready = one.get("status") == "READY"
    return [
        cell(one["version"]),
        cells.stage(one.get("current_stage", cells.NO_STAGE)),
        cells.aliases(aliases),
        moment(one.get("creation_timestamp"), now_ms),
        cell(one.get("user_id", "")),
        cell(str(one.get("status", "")).lower(), "" if is_ready else "red"),
        cell(one.get("run_id", "")),
        cell(one.get("source", "")),
        cell(one.get("description", ""), "dim"),
    ]


def _request_row(one: Json, now_ms: int) -> list[Cell]:
    return [
        cell(one["version"]),
        cells.stage(one.get("current_stage", cells.NO_STAGE)),
        cells.stage(one.get("to_stage", "")),
        cell(one.get("user_id", "")),
        moment(one.get("creation_timestamp"), now_ms),
        moment(one.get("expire_timestamp"), now_ms),
        cell(", ".join(one.get("approved_by", ()))),
        cell(one.get("comment", "")),
    ]
