"""`promote`, `request`, `approve`, `reject`, `cancel`: how versions get to stages and aliases."""

from typing import Annotated, Any

import typer

from modelstead.commands import options, states
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.output import Output, end, told
from modelstead.commands.rest import Rest, RestError
from modelstead.commands.settings import target

_ALREADY = "RESOURCE_ALREADY_EXISTS"


def promote(
    name: options.Name,
    version: options.Version,
    stage: options.Stage,
    comment: options.Comment = None,
    archive: options.Archive = False,
    if_stage: options.IfStage = None,
    if_version: options.IfVersion = None,
    or_request: Annotated[
        bool, typer.Option("--or-request", help="Where the policy refuses it, ask for it; exit code 6.")
    ] = False,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Move a version to a stage, or point an alias at it."""
    body = {**_move(name, version, stage, comment), "if_stage": if_stage, "if_version": if_version}
    # The answer to what is expected to hold is another one the second time.
    may_repeat = if_stage is None and if_version is None
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        try:
            answer = rest.post(
                "databricks/model-versions/transition-stage",
                {**body, "archive_existing_versions": archive},
                may_repeat=may_repeat,
            )
        except RestError as refused:
            if not or_request or refused.code is not Exit.REFUSED:
                raise
            _ask_instead(rest, output, _move(name, version, stage, comment), refused)
            return
        output.tell(answer, f"{name} {version} is at {stage}.")


def request(
    name: options.Name,
    version: options.Version,
    stage: options.Stage,
    comment: options.Comment = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Ask others to move a version. Exit code 4 if you have asked already."""
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        answer = rest.post("transition-requests/create", _move(name, version, stage, comment), may_repeat=False)
        output.tell(answer, f"Asked for {name} {version} to be moved to {stage}.")


def approve(
    name: options.Name,
    version: options.Version,
    stage: options.Stage,
    comment: options.Comment = None,
    archive: options.Archive = False,
    if_stage: options.IfStage = None,
    if_version: options.IfVersion = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Approve what others ask for. The last approval that is needed moves the version; until then exit code 6."""
    body = {**_move(name, version, stage, comment), "if_stage": if_stage, "if_version": if_version}
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        answer = rest.post(
            "transition-requests/approve", {**body, "archive_existing_versions": archive}, may_repeat=False
        )
        moved = states.is_at(rest, name, version, stage)
        still = answer.get("activity", {}).get("system_comment") or "Something is missing still."
        said = f"Approved: {name} {version} is at {stage}." if moved else f"Approved, and not moved yet. {still}"
        output.tell({**answer, "moved": moved}, said)
        end(Exit.DONE if moved else Exit.PENDING)


def reject(
    name: options.Name,
    version: options.Version,
    stage: options.Stage,
    comment: options.Comment = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Reject all requests to move a version to a stage."""
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        answer = rest.post("transition-requests/reject", _move(name, version, stage, comment), may_repeat=False)
        output.tell(answer, f"Rejected: {name} {version} is not moved to {stage}.")


def cancel(
    name: options.Name,
    version: options.Version,
    stage: options.Stage,
    comment: options.Comment = None,
    creator: Annotated[
        str | None, typer.Option(help="Who asked. Default: the one request that you may cancel.", show_default=False)
    ] = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Take a request back. It is one's own or, with MANAGE on the model, anybody's."""
    with told(as_json=as_json) as output:
        rest = Rest(target(uri, token_file))
        who = creator or _only_creator(rest, name, version, stage)
        answer = rest.delete("transition-requests/delete", {**_move(name, version, stage, comment), "creator": who})
        output.tell(answer, f"Cancelled {who}'s request to move {name} {version} to {stage}.")


def _move(name: str, version: str, stage: str, comment: str | None) -> dict[str, Any]:
    return {"name": name, "version": version, "stage": stage, "comment": comment}


def _ask_instead(rest: Rest, output: Output, move: dict[str, Any], refused: RestError) -> None:
    """Make a request in place of a refused move; one that is open already will do."""
    try:
        answer = rest.post("transition-requests/create", move, may_repeat=False)
    except RestError as error:
        if error.reason != _ALREADY:
            raise
        answer = {}
    result = {**answer, "pending": True, "refused": refused.message}
    output.tell(result, f"Asked for {move['name']} {move['version']} at {move['stage']}. {refused.message}")
    end(Exit.PENDING)


def _only_creator(rest: Rest, name: str, version: str, stage: str) -> str:
    found = states.open_requests(rest, name, version, stage)
    mine = [one for one in found if "CANCEL_TRANSITION_REQUEST" in one.get("available_actions", ())]
    if not mine:
        raise CommandError(f"There is no request of {name} {version} for {stage} to cancel.", Exit.NOT_FOUND)
    if len(mine) > 1:
        names = ", ".join(str(one.get("user_id")) for one in mine)
        raise CommandError(f"You may cancel {len(mine)} requests; say whose with --creator: {names}.", Exit.USAGE)
    return str(mine[0].get("user_id"))
