"""`modelstead models ls|show` on a real platform."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result
from rich.cells import cell_len
from typer.testing import CliRunner

from modelstead.cli import application
from tests.client import terminals
from tests.compat import factories
from tests.compat.rest import Rest
from tests.stack import Stack


@pytest.fixture(scope="module")
def rest(stack: Stack) -> Iterator[Rest]:
    caller = Rest(stack.url)
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def fraud(rest: Rest) -> str:
    """A model with four versions: one in production, one archived, two with aliases, one asked for."""
    name = factories.new_registered_model(
        rest, name=factories.unique("fraud"), description="Scores payments.", tags=[{"key": "team", "value": "risk"}]
    )
    run_id = factories.new_run(rest)
    for _ in range(3):
        factories.new_version(rest, name)
    factories.new_version(rest, name, run_id=run_id)
    for version, stage in (("1", "Archived"), ("2", "Production")):
        rest.post("model-versions/transition-stage", name=name, version=version, stage=stage)
    factories.set_alias(rest, name, "champion", "2")
    factories.set_alias(rest, name, "challenger", "4")
    rest.post("transition-requests/create", name=name, version="4", stage="Staging", comment="Better recall.")
    return name


def run(stack: Stack, *arguments: str) -> Result:
    return CliRunner().invoke(application(), ["models", *arguments], env=terminals.environment(stack.url))


def table(lines: list[str]) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in lines]


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_models_are_listed_with_where_their_versions_stand(stack: Stack, rest: Rest, fraud: str) -> None:
    bare = factories.new_registered_model(rest, name=f"{fraud}-next")

    rows = table(run(stack, "ls", "--filter", f"name LIKE '{fraud}%'").stdout.splitlines())

    assert rows[0] == ["model", "newest", "stages", "aliases", "requests", "updated", "description"]
    assert rows[1][:5] == [fraud, "4", "Production:2 Archived:1", "@challenger:4 @champion:2", "1"]
    assert rows[1][6] == "Scores payments."
    assert rows[2][:5] == [bare, "-", "-", "-", "0"]


def test_models_as_json(stack: Stack, rest: Rest, fraud: str) -> None:
    told = document(run(stack, "ls", "--filter", f"name = '{fraud}'", "--json"))

    assert told["registered_models"] == [factories.get_registered_model(rest, fraud)]
    assert [(one["version"], one["to_stage"]) for one in told["requests"] if one["name"] == fraud] == [("4", "Staging")]


def test_a_list_of_models_goes_on_where_it_stopped(stack: Stack, rest: Rest) -> None:
    prefix = factories.unique("paged")
    for number in range(3):
        factories.new_registered_model(rest, name=f"{prefix}-{number}")
    chosen = ("ls", "--filter", f"name LIKE '{prefix}%'", "--order-by", "name DESC", "--json")

    first = document(run(stack, *chosen, "--limit", "2"))
    second = document(run(stack, *chosen, "--limit", "2", "--page-token", first["next_page_token"]))

    names = [one["name"] for page in (first, second) for one in page["registered_models"]]
    assert names == [f"{prefix}-{number}" for number in (2, 1, 0)]


def test_a_model_is_shown_with_versions_and_requests(stack: Stack, fraud: str) -> None:
    lines = run(stack, "show", fraud).stdout.splitlines()
    rows = table(lines)

    assert lines[0] == fraud
    assert ["description", "Scores payments."] in rows
    assert ["tags", "team=risk"] in rows
    versions = rows[rows.index(["Versions"]) + 2 :][:4]
    assert [row[:3] for row in versions] == [
        ["4", "-", "@challenger"], ["3", "-", "-"], ["2", "Production", "@champion"], ["1", "Archived", "-"]
    ]  # fmt: skip
    request = rows[rows.index(["Open requests"]) + 2]
    assert (request[0], request[2], request[-1]) == ("4", "Staging", "Better recall.")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_models_fit_the_terminal(stack: Stack, fraud: str, width: int) -> None:
    listed = terminals.shown(stack.url, "models", "ls", "--filter", f"name = '{fraud}'", width=width)
    shown = terminals.shown(stack.url, "models", "show", fraud, width=width)

    assert all(cell_len(line) <= width for line in listed)
    assert all(cell_len(line) <= width for line in shown if "decides" not in line)
    assert listed[1].startswith(fraud[:12])
    assert [line.split()[0] for line in shown[shown.index("Versions") + 2 :][:4]] == ["4", "3", "2", "1"]
    assert any(line.split()[:1] == ["4"] and "Staging" in line for line in shown)


def test_a_shown_model_as_json(stack: Stack, rest: Rest, fraud: str) -> None:
    told = document(run(stack, "show", fraud, "--limit", "3", "--json"))

    assert told["registered_model"] == factories.get_registered_model(rest, fraud)
    assert [one["version"] for one in told["model_versions"]] == ["4", "3", "2"]
    assert told["next_page_token"]
    assert [one["to_stage"] for one in told["requests"]] == ["Staging"]


def test_a_model_that_there_is_not_is_told(stack: Stack) -> None:
    shown = run(stack, "show", "it's gone")

    assert shown.exit_code == 5
    assert shown.stderr == 'There is no registered model "it\'s gone"; `modelstead models ls` lists them.\n'
