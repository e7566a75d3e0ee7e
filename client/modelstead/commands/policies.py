"""`policy get`, `policy set`, `policy validate`."""

from pathlib import Path
from typing import Annotated

import typer

from modelstead.commands import options
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.output import told, when
from modelstead.commands.rest import Rest
from modelstead.commands.settings import target

_BYTES_MAX = 64 * 1024

Model = Annotated[
    str | None,
    typer.Option("--name", help="The registered model. Default: the policy of all others.", show_default=False),
]
File = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The policy in YAML.", show_default=False)
]

app = typer.Typer(help="Get, set and validate promotion policies.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def get(
    name: Model = None, uri: options.Uri = None, token_file: options.TokenFile = None, as_json: options.Json = False
) -> None:
    """Print a policy as it was set."""
    with told(as_json=as_json) as output:
        answer = Rest(target(uri, token_file)).get("promotion-policies/get", {"name": name})
        policy = answer["policy"]
        by = f"{policy.get('set_by', '')} {when(policy.get('set_timestamp'))}".strip()
        output.tell(
            answer, f"# revision {policy.get('revision', '')}, {by}", policy.get("policy_yaml", "").rstrip("\n")
        )


@app.command(name="set")
def set_(
    file: File,
    name: Model = None,
    if_revision: Annotated[
        int | None,
        typer.Option(min=0, help="Only over this revision, 0 if there is none; else exit code 4.", show_default=False),
    ] = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Set a policy."""
    with told(as_json=as_json) as output:
        body = {"name": name, "policy_yaml": _read(file), "if_revision": if_revision}
        rest = Rest(target(uri, token_file))
        answer = rest.post("promotion-policies/set", body, may_repeat=if_revision is None)
        output.tell(answer, f"Set revision {answer['policy']['revision']} of {_whose(name)}.")


@app.command()
def validate(
    file: File,
    name: Model = None,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Have the platform judge a policy without setting it. Exit code 1 if it is none."""
    with told(as_json=as_json) as output:
        body = {"name": name, "policy_yaml": _read(file)}
        Rest(target(uri, token_file)).post("promotion-policies/validate", body, may_repeat=True)
        output.tell({"valid": True}, f"{file} is a valid policy.")


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}", Exit.USAGE) from error
    if len(text.encode()) > _BYTES_MAX:
        raise CommandError(f"{file} has over {_BYTES_MAX} bytes, which is the most that a policy may have.", Exit.USAGE)
    return text


def _whose(name: str | None) -> str:
    return f"the policy of {name}" if name else "the default policy"
