"""`release`: several versions moved together, or none."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from modelstead.commands import options
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.output import told
from modelstead.commands.rest import Rest
from modelstead.commands.settings import target

_MOVES_MAX = 100
_BYTES_MAX = 1024 * 1024
_FIELDS = {"name", "version", "stage", "if_stage", "if_version", "archive_existing_versions"}
_REQUIRED = ("name", "version", "stage")


def release(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", exists=True, dir_okay=False, help="YAML or JSON: {moves: [{name, version, stage}]}."
        ),
    ] = None,
    move: Annotated[
        list[str] | None,
        typer.Option("--move", metavar="NAME/VERSION=STAGE", help="A move, may be repeated: fraud/3=@champion."),
    ] = None,
    comment: options.Comment = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Make all moves, or none."""
    with told(as_json=as_json) as output:
        content = _read(file) if file else {}
        moves = [*content.get("moves", ()), *map(parse_move, move or ())]
        if not 1 <= len(moves) <= _MOVES_MAX:
            raise CommandError(f"A release has 1 to {_MOVES_MAX} moves; this one has {len(moves)}.", Exit.USAGE)
        body = {"moves": moves, "comment": comment or content.get("comment")}
        may_repeat = not any("if_stage" in one or "if_version" in one for one in moves)
        answer = Rest(target(uri, token_file)).post("releases/create", body, may_repeat=may_repeat)
        rows = [[str(one[key]) for key in _REQUIRED] for one in moves]
        output.table(answer, ("model", "version", "is at"), rows)


def parse_move(text: str) -> dict[str, Any]:
    """Read `name/version=stage`. Raises CommandError."""
    where, equals, stage = text.partition("=")
    name, slash, version = where.rpartition("/")
    if not (equals and slash and name and version and stage):
        raise CommandError(f"--move {text!r} is not of the form NAME/VERSION=STAGE.", Exit.USAGE)
    return {"name": name, "version": version, "stage": stage}


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _BYTES_MAX:
            raise CommandError(f"{file} has over {_BYTES_MAX} bytes.", Exit.USAGE)
        # JSON is YAML too.
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"{file} cannot be read: {error}", Exit.USAGE) from error
    whole = {"moves": content} if isinstance(content, list) else content
    if not isinstance(whole, dict) or not isinstance(whole.get("moves"), list):
        raise CommandError(f"{file} has no list `moves`.", Exit.USAGE)
    return {
        "moves": [_check(file, number, one) for number, one in enumerate(whole["moves"])],
        "comment": whole.get("comment"),
    }


def _check(file: Path, number: int, move: Any) -> dict[str, Any]:
    where = f"{file}: moves[{number}]"
    if not isinstance(move, dict):
        raise CommandError(f"{where} is not a mapping of name, version and stage.", Exit.USAGE)
    if unknown := sorted(map(str, set(move) - _FIELDS)):
        raise CommandError(f"{where} has the unknown field {unknown[0]!r}; fields are {sorted(_FIELDS)}.", Exit.USAGE)
    if absent := [field for field in _REQUIRED if move.get(field) in (None, "")]:
        raise CommandError(f"{where} has no {absent[0]!r}.", Exit.USAGE)
    texts = {field: str(value) for field, value in move.items() if field != "archive_existing_versions"}
    archive = move.get("archive_existing_versions")
    return texts if archive is None else {**texts, "archive_existing_versions": bool(archive)}
