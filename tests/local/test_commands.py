"""The `modelstead` command as a person meets it, up to where the first process would be started."""

import os
import re
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer

import modelstead
from services.common.settings import Address
from services.local.data_dir import DataDir


def test_the_version_is_that_of_the_distribution(command: list[str]) -> None:
    shown = _run(command, "--version")

    assert shown.stdout == f"modelstead {metadata.version('modelstead')}\n"


def test_help_names_the_commands_of_the_server(command: list[str]) -> None:
    shown = _run(command, "--help")

    assert re.search(r"^  up +Run all of the platform", shown.stdout, re.MULTILINE)
    assert re.search(r"^  migrate +Bring the database", shown.stdout, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["up"], ["up", "--port", "1"], ["up", "--help"], ["migrate"]])
def test_without_the_server_up_says_what_to_install(tmp_path: Path, arguments: list[str]) -> None:
    """In a folder that has everything installed here but the server."""
    packages = Path(typer.__file__).parents[1]
    for entry in packages.iterdir():
        if not entry.name.startswith("modelstead") and entry.suffix != ".pth":
            (tmp_path / entry.name).symlink_to(entry)
    client = Path(modelstead.__file__).parents[1]
    code = f"import sys; sys.path += [{str(client)!r}, {str(tmp_path)!r}]; from modelstead.cli import main; main()"

    shown = _run([sys.executable, "-S", "-P", "-c", code], *arguments, PYTHONPATH="")

    assert shown.returncode == 1
    assert shown.stderr == (
        f"`modelstead {arguments[0]}` runs the platform, which is not installed here: "
        "`pip install modelstead-server`.\n"
    )


def test_a_gateway_port_in_use_stops_before_anything_starts(
    command: list[str], gateway: Address, data_path: Path
) -> None:
    with socket.create_server((gateway.host, gateway.port)):
        shown = _up(command, gateway, data_path)

    assert shown.returncode == 1
    assert shown.stderr == f"Port {gateway.port} on 127.0.0.1 is in use: choose another with --port.\n"
    assert not (data_path / "postgres").exists()


@pytest.mark.parametrize(("service", "offset"), [("tracking", 1), ("artifacts", 2), ("registry", 3)])
def test_a_services_port_in_use_stops_before_anything_starts(
    command: list[str], gateway: Address, data_path: Path, service: str, offset: int
) -> None:
    with socket.create_server((gateway.host, gateway.port + offset)):
        shown = _up(command, gateway, data_path)

    assert shown.returncode == 1
    assert f"Port {gateway.port + offset} on 127.0.0.1 is in use, and {service} needs it" in shown.stderr
    assert not (data_path / "postgres").exists()


def test_a_second_instance_is_told_of_the_first(command: list[str], gateway: Address, data_path: Path) -> None:
    with DataDir(data_path, url="http://127.0.0.1:1234"):
        shown = _up(command, gateway, data_path)

    assert shown.returncode == 1
    assert shown.stderr == (f"Modelstead already runs on {data_path} (process {os.getpid()}, http://127.0.0.1:1234).\n")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 can be reached by others: add --auth tokens --tokens-file FILE."),
        (["--auth", "tokens"], "--auth tokens needs --tokens-file."),
        (["--port", "65533"], "Input should be less than or equal to 65532"),
        (["--s3-endpoint", "s3.example:9000"], "--s3-endpoint must be of the form https://host:port."),
        (["--s3-endpoint", "https://s3.example"], "--s3-endpoint needs --s3-bucket, --s3-access-key-file and"),
        (["--artifact-stores", "/no/such/file"], "/no/such/file"),
        (["--database-url", "mysql://hush@host/db"], "--database-url must be of the form postgresql://"),
    ],
)
def test_a_wrong_option_is_explained(command: list[str], data_path: Path, options: list[str], sentence: str) -> None:
    shown = _run(command, "up", "--data-dir", str(data_path), *options)

    assert shown.returncode == 2
    assert sentence in shown.stderr
    assert "hush" not in shown.stderr
    assert not data_path.exists()


def test_a_wrong_variable_is_named(command: list[str]) -> None:
    shown = _run(command, "up", MODELSTEAD_PORT="http")

    assert shown.returncode == 2
    assert "MODELSTEAD_PORT" in shown.stderr


def _up(command: list[str], gateway: Address, data_path: Path) -> "subprocess.CompletedProcess[str]":
    return _run(command, "up", "--port", str(gateway.port), "--data-dir", str(data_path))


def _run(command: list[str], *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environ}, timeout=120
    )
