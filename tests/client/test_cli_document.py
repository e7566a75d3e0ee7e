"""What docs/cli.md shows: its commands are ones that there are, and none that people look with is left out."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from modelstead.cli import SECTIONS, application

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SHOWN = [shlex.split(line.removesuffix(" | cat")) for line in re.findall(r"^\$ modelstead (.*)$", TEXT, re.MULTILINE)]
GROUP: Any = typer.main.get_command(application())
LOOKING = [f"runs {name}" for name in ("ls", "show", "compare", "watch")] + [
    "models ls",
    "models show",
    "top",
    "doctor",
]
# What every command has needs to be told once.
COMMON = {"--help", "--uri", "--token-file", "--json"}


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words call, and its arguments."""
    command = GROUP.commands[words[0]]
    if hasattr(command, "commands"):
        return command.commands[words[1]], words[2:]
    return command, words[1:]


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_a_command_that_is_shown_parses(words: list[str]) -> None:
    command, arguments = command_of(words)

    assert command.make_context(command.name, arguments)


def test_every_command_is_told() -> None:
    shown = {" ".join(words[: 1 if words[0] in ("top", "doctor") else 2]) for words in SHOWN}

    assert shown == set(LOOKING)
    for name in (name for commands in SECTIONS.values() for name in commands):
        assert re.search(rf"`(modelstead )?{name}[ `]", TEXT), name


@pytest.mark.parametrize("name", LOOKING)
def test_every_option_is_told(name: str) -> None:
    command, _ = command_of(name.split())

    options = {option for each in command.params for option in each.opts if option.startswith("--")}
    assert [option for option in sorted(options - COMMON) if option not in TEXT] == []
    assert all(option in TEXT for option in COMMON - {"--help"})
