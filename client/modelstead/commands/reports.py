"""`check`, `evaluate`, `history`, `show`: what is known about a version, and telling it."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from modelstead.commands import options, states
from modelstead.commands.exits import Exit
from modelstead.commands.output import end, told, when
from modelstead.commands.rest import Rest
from modelstead.commands.settings import target

_PAGE = 100


class CheckState(StrEnum):
    """How a check stands."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


def check(
    name: options.Name,
    version: options.Version,
    check: Annotated[str, typer.Argument(metavar="CHECK", help="The check, as the policy names it.")],
    state: Annotated[CheckState, typer.Option(help="How it stands.", case_sensitive=False)],
    url: Annotated[str | None, typer.Option(help="Where to read more.", show_default=False)] = None,
    description: Annotated[str | None, typer.Option(help="More about it.", show_default=False)] = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Say how a named check of a version stands."""
    body = {"name": name, "version": version, "check": check, "state": state.value.upper(), "url": url}
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        answer = rest.post("model-versions/checks/set", {**body, "description": description}, may_repeat=True)
        output.tell(answer, f"{check} of {name} {version}: {state.value}.")


def evaluate(
    name: options.Name,
    version: options.Version,
    stage: options.Stage,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Tell whether you may move a version now. Exit code 6 if approvals are missing, 3 if something else is."""
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        answer = rest.get("promotion-policies/evaluate", {"name": name, "version": version, "stage": stage})
        allowed, given, needed = (answer.get(key, 0) for key in ("allowed", "approvals", "approvals_required"))
        first = (
            f"{name} {version} {'may' if allowed else 'may not'} be moved to {stage}: {given} of {needed} approvals."
        )
        output.tell(answer, first, *(f"- {sentence}" for sentence in answer.get("missing", ())))
        if not allowed:
            end(Exit.PENDING if given < needed else Exit.REFUSED)


def history(
    name: options.Name,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 50,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Tell who did what to a model or a version, when, and why."""
    with told(as_json=as_json) as output:
        found = _activities(Rest(target(uri, token_file)), name, version, limit)
        columns = ("when", "who", "what", "version", "from", "to", "comment")
        output.table({"activities": found}, columns, [_activity_row(one) for one in found])


def show(
    name: options.Name,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", show_default=False)] = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Show what stages and aliases stand for. With VERSION, show it with its checks and open requests."""
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        if version is None:
            model = rest.get("registered-models/get", {"name": name})["registered_model"]
            output.table({"registered_model": model}, ("reference", "version"), _model_rows(model))
            return
        which = {"name": name, "version": version}
        found = {
            "model_version": states.get_version(rest, name, version),
            "checks": rest.get("model-versions/checks/list", which).get("checks", []),
            "requests": states.open_requests(rest, name, version),
        }
        output.table(found, ("what", "", ""), _version_rows(found))


def _activities(rest: Rest, name: str, version: str | None, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"name": name, "version": version}
    while len(found) < limit:
        page = rest.get("activities/list", {**query, "max_results": min(_PAGE, limit - len(found))})
        found += page.get("activities", [])
        query["page_token"] = page.get("next_page_token")
        if not query["page_token"]:
            break
    return found[:limit]


def _activity_row(one: dict[str, Any]) -> list[str]:
    what = str(one.get("activity_type", "")).lower().replace("_", " ")
    texts = [str(one.get(key, "")) for key in ("version", "from_stage", "to_stage")]
    comment = " ".join(filter(None, (one.get("comment"), one.get("system_comment"))))
    return [when(one.get("creation_timestamp")), str(one.get("user_id", "")), what, *texts, comment]


def _model_rows(model: dict[str, Any]) -> list[tuple[str, str]]:
    name = model["name"]
    aliases = [(f"{name}@{one['alias']}", str(one["version"])) for one in model.get("aliases", ())]
    stages = [(f"{name}/{one['current_stage']}", str(one["version"])) for one in model.get("latest_versions", ())]
    return aliases + stages


def _version_rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    version = found["model_version"]
    fields = [
        (key, str(version[key]), "") for key in ("current_stage", "source", "run_id", "status") if version.get(key)
    ]
    aliases = [("alias", str(alias), "") for alias in version.get("aliases", ())]
    checks = [
        (f"check {one['check']}", str(one["state"]).lower(), str(one.get("url") or one.get("description") or ""))
        for one in found["checks"]
    ]
    asked = [
        (f"request of {one.get('user_id')}", f"to {one.get('to_stage')}", one.get("comment", ""))
        for one in found["requests"]
    ]
    return fields + aliases + checks + asked
