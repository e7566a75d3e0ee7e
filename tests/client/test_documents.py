"""What docs/promoting-from-ci.md shows: its YAML is YAML, its commands are ones that there are, its codes are ours."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from modelstead.cli import application
from modelstead.commands import releases
from modelstead.commands.exits import CommandError, Exit

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "promoting-from-ci.md").read_text(encoding="utf-8")
GITHUB, ARGO, RELEASE = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
COMMAND = re.compile(r"^\s*(?:- run: |run: )?(modelstead model .*?)(?: \|\| .*)?$", re.MULTILINE)


def _commands() -> Iterator[str]:
    for step in GITHUB["jobs"]["promote"]["steps"]:
        yield from COMMAND.findall(step.get("run", ""))
    yield from COMMAND.findall(ARGO["spec"]["templates"][0]["script"]["source"])


def test_the_documents_commands_are_found() -> None:
    names = [command.split()[2] for command in _commands()]

    assert names == ["check", "check", "check", "promote", "wait", "evaluate", "release", "show"]
    assert len(names) == len(re.findall(r"^.*modelstead model \w+ (?:fraud|--)", TEXT, re.MULTILINE))


@pytest.mark.parametrize("command", list(_commands()))
def test_a_documented_command_parses(command: str) -> None:
    _, _, name, *arguments = shlex.split(command.replace("$VERSION", "3"))
    group: Any = typer.main.get_command(application())

    context = group.commands["model"].commands[name].make_context(name, arguments)

    if moves := context.params.get("move"):
        assert [releases.parse_move(move)["stage"] for move in moves] == ["Production", "@champion"]


def test_the_documented_release_is_one(tmp_path: Path) -> None:
    file = tmp_path / "release.yaml"
    file.write_text(yaml.safe_dump(RELEASE))

    shown = CliRunner().invoke(application(), ["model", "release", str(file), "--uri", "http://127.0.0.1:1"])

    # It is sent, and nobody is there.
    assert shown.exit_code == Exit.UNAVAILABLE


def test_every_exit_code_is_documented() -> None:
    rows = [int(code) for code in re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE)]

    assert rows == [int(code) for code in Exit]


def test_every_command_is_documented() -> None:
    group: Any = typer.main.get_command(application())
    names = set(group.commands["model"].commands)

    assert names <= set(re.findall(r"`([a-z]+)[ `]", TEXT))


def test_a_move_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError):
        releases.parse_move("fraud/3")
