"""What `--help` says, and what it costs: it imports nothing but what it needs itself."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from modelstead.cli import SECTIONS, application
from tests.client.terminals import CLIENT

COMMANDS = [name for commands in SECTIONS.values() for name in commands]
GROUPS = ("runs", "models", "model")
# What takes long to import, or may not be installed where training jobs are.
HEAVY = ("rich", "yaml", "grpc", "google.protobuf", "urllib.request", "ssl", "asyncio", "services", "mlflow", "numpy")
_PROBE = """
import json, sys
from modelstead.cli import main
sys.argv = ["modelstead", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules(*arguments: str) -> set[str]:
    """The modules that a process has imported at the end of a command."""
    path = os.pathsep.join([str(CLIENT), str(CLIENT.parent)])
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_all_commands_are_told_in_sections_and_in_whole_sentences() -> None:
    shown = CliRunner().invoke(application(), ["--help"]).stdout

    positions = [shown.index(f"\n  {name} ") for name in COMMANDS]
    assert positions == sorted(positions)
    assert all(f"\n{title}:\n" in shown for title in SECTIONS)
    assert "..." not in shown.partition("Options:")[2]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("group", GROUPS)
def test_the_commands_of_a_group_are_told_in_whole_sentences(group: str) -> None:
    shown = CliRunner().invoke(application(), [group, "--help"]).stdout

    listed = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) >= 2
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    shown = CliRunner().invoke(application(), [command, "--help"])

    assert shown.exit_code == 0
    assert shown.stdout.startswith("Usage: modelstead ")


def test_a_slip_of_the_pen_is_understood() -> None:
    shown = CliRunner().invoke(application(), ["model5"])

    assert shown.exit_code == 2
    assert "'model'" in shown.stderr


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_no_command(option: str) -> None:
    loaded = modules(option)

    assert not [name for name in HEAVY if name in loaded]
    assert not [name for name in loaded if name.startswith("modelstead.commands")]


def test_looking_loads_neither_grpc_nor_the_server() -> None:
    loaded = modules("runs", "ls", "--uri", "ftp://nowhere")

    assert "modelstead.commands.runs.ls" in loaded
    assert not [name for name in ("grpc", "google.protobuf", "services", "yaml", "mlflow") if name in loaded]
