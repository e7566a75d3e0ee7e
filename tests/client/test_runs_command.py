"""`modelstead runs ls|show|compare` on a real platform, as programs and as people see it."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from click.testing import Result
from rich.cells import cell_len
from typer.testing import CliRunner

from modelstead.cli import application
from tests.client import terminals
from tests.client.platform import Answer, Platform, error
from tests.compat import factories
from tests.compat.rest import Rest
from tests.stack import Stack

HOUR_MS = 3_600_000
# Runs by name: loss, learning rate, how they ended.
RUNS = {"wide": (0.9, "0.1", "FAILED"), "base line": (0.4, "0.01", "FINISHED"), "deep": (0.2, "0.01", "RUNNING")}
STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Mnist:
    """An experiment with the runs above, each with a curve of `loss` that ends where it says."""

    name: str
    experiment_id: str
    run_ids: Mapping[str, str]


@pytest.fixture(scope="module")
def rest(stack: Stack) -> Iterator[Rest]:
    caller = Rest(stack.url)
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def mnist(rest: Rest) -> Mnist:
    name = factories.unique("mnist")
    experiment_id = factories.new_experiment(rest, name=name)
    run_ids = {}
    for number, (run_name, (loss, lr, status)) in enumerate(RUNS.items()):
        start = 1_700_000_000_000 + number * HOUR_MS
        run_id = factories.new_run(rest, experiment_id, run_name=run_name, start_time=start, user_id="ann")
        points = [factories.metric("loss", loss + (STEPS - 1 - step) / 10, start + step, step) for step in range(STEPS)]
        factories.log(
            rest, run_id, params={"lr": lr, "optimizer": "adam"}, tags={"team": "vision"},
            metrics=[*points, factories.metric("val/accuracy", 1 - loss, start, 3), factories.metric("epoch", 9)],
        )  # fmt: skip
        if status != "RUNNING":
            rest.post("runs/update", run_id=run_id, status=status, end_time=start + 90_000)
        run_ids[run_name] = run_id
    return Mnist(name=name, experiment_id=experiment_id, run_ids=run_ids)


def run(stack: Stack | Platform, *arguments: str, **environ: str) -> Result:
    environment: dict[str, str | None] = {
        "MLFLOW_EXPERIMENT_ID": None, "MLFLOW_EXPERIMENT_NAME": None, **terminals.environment(stack.url), **environ
    }  # fmt: skip
    return CliRunner().invoke(application(), ["runs", *arguments], env=environment)


def table(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [re.split(r" {2,}", line) for line in result.stdout.splitlines()]


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_runs_are_listed_whole_in_a_pipe(stack: Stack, mnist: Mnist) -> None:
    rows = table(run(stack, "ls", mnist.name))

    assert rows[0] == ["run", "name", "status", "started", "took", "user"]
    assert rows[1] == [mnist.run_ids["deep"], "deep", "RUNNING", "2023-11-15T00:13:20Z", rows[1][4], "ann"]
    assert rows[2] == [mnist.run_ids["base line"], "base line", "FINISHED", "2023-11-14T23:13:20Z", "90s", "ann"]
    assert [row[1] for row in rows[1:]] == ["deep", "base line", "wide"]


def test_what_is_asked_for_is_shown(stack: Stack, mnist: Mnist) -> None:
    asked = ("-m", "val/accuracy", "-p", "lr", "-t", "team", "-m", "absent", "--curve", "loss")

    rows = table(run(stack, "ls", mnist.experiment_id, "--order-by", "metrics.loss ASC", *asked))

    assert rows[0][6:] == ["val/accuracy", "absent", "loss", "lr", "team", "loss curve"]
    assert [row[1] for row in rows[1:]] == ["deep", "base line", "wide"]
    assert rows[1][6:11] == ["0.8", "-", "0.2", "0.01", "vision"]
    # It is drawn from the greatest loss to the least.
    assert re.fullmatch("█[▁-█]{14,15}▁", rows[1][11])


def test_a_list_is_filtered_and_goes_on_where_it_stopped(stack: Stack, mnist: Mnist) -> None:
    found = document(run(stack, "ls", mnist.name, "--filter", "params.lr = '0.01'", "--json"))
    first = document(run(stack, "ls", mnist.name, "--limit", "2", "--json"))
    told = run(stack, "ls", mnist.name, "--limit", "2")
    second = document(run(stack, "ls", mnist.name, "-n", "2", "--page-token", first["next_page_token"], "--json"))

    assert [one["info"]["run_name"] for one in found["runs"]] == ["deep", "base line"]
    assert [one["info"]["run_name"] for one in first["runs"]] == ["deep", "base line"]
    assert f"--page-token {first['next_page_token']}" in told.stderr
    assert [one["info"]["run_name"] for one in second["runs"]] == ["wide"]
    assert "next_page_token" not in second


def test_json_is_what_the_api_has(stack: Stack, rest: Rest, mnist: Mnist) -> None:
    told = document(run(stack, "ls", mnist.name, "--curve", "loss", "--json"))

    assert told["runs"] == rest.post("runs/search", experiment_ids=[mnist.experiment_id])["runs"]
    assert {point["run_id"] for point in told["metrics"]} == set(mnist.run_ids.values())
    assert {point["key"] for point in told["metrics"]} == {"loss"}


def test_without_an_experiment_variables_name_it_or_all_are_listed(stack: Stack, rest: Rest, mnist: Mnist) -> None:
    other = factories.new_run(rest, run_name="elsewhere", start_time=4_000_000_000_000)

    named = table(run(stack, "ls", MLFLOW_EXPERIMENT_NAME=mnist.name))
    everywhere = table(run(stack, "ls", "--limit", "50"))

    assert {row[0] for row in named[1:]} == set(mnist.run_ids.values())
    assert everywhere[0][:3] == ["run", "name", "experiment"]
    assert other in [row[0] for row in everywhere]


def test_deleted_runs_are_listed_by_themselves(stack: Stack, rest: Rest) -> None:
    experiment_id = factories.new_experiment(rest)
    alive, gone = (factories.new_run(rest, experiment_id) for _ in range(2))
    rest.post("runs/delete", run_id=gone)

    assert [row[0] for row in table(run(stack, "ls", experiment_id))[1:]] == [alive]
    assert [row[0] for row in table(run(stack, "ls", experiment_id, "--deleted"))[1:]] == [gone]


def test_an_empty_list_says_so_and_is_one(stack: Stack, rest: Rest) -> None:
    experiment_id = factories.new_experiment(rest)

    shown = run(stack, "ls", experiment_id)

    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "no such runs" in shown.stderr
    assert document(run(stack, "ls", experiment_id, "--json")) == {"runs": []}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_list_fits_the_terminal(stack: Stack, mnist: Mnist, width: int) -> None:
    lines = terminals.shown(stack.url, "runs", "ls", mnist.name, "--curve", "loss", width=width)

    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) == 1 + len(RUNS)
    ids = re.compile("[0-9a-f]{32}" if width == 200 else r"[0-9a-f]{8} ")
    assert all(ids.match(line) for line in lines[1:])
    assert re.search(r"✗ failed .* 0\.9 .*█[▁-█]+▁", lines[3])
    assert ("took" in lines[0]) == (width >= 80)


def test_without_being_asked_a_terminal_shows_metrics(stack: Stack, mnist: Mnist) -> None:
    lines = terminals.shown(stack.url, "runs", "ls", mnist.name, width=120)

    assert lines[0].split()[-3:] == ["epoch", "loss", "val/accuracy"]


def test_colours_can_be_turned_off(stack: Stack, mnist: Mnist) -> None:
    with terminals.Terminal(stack.url, "runs", "ls", mnist.name) as coloured:
        assert coloured.end() == 0
    with terminals.Terminal(stack.url, "runs", "ls", mnist.name, environ={"NO_COLOR": "1"}) as plain:
        assert plain.end() == 0

    assert "\x1b[31m✗ failed" in coloured.raw
    assert "\x1b[31m" not in plain.raw


def test_a_run_is_shown_with_all_that_is_known_of_it(stack: Stack, rest: Rest, mnist: Mnist) -> None:
    run_id = mnist.run_ids["base line"]
    rest.post("runs/set-tag", run_id=run_id, key="mlflow.note.content", value="A [red]note[/red]\x1b[31m")
    rest.post("runs/log-inputs", run_id=run_id, datasets=[factories.dataset_input("iris", "d1", context="training")])
    httpx.put(
        f"{stack.url}/api/2.0/mlflow-artifacts/artifacts/{mnist.experiment_id}/{run_id}/artifacts/notes/a.txt",
        content=b"hello", timeout=60,
    ).raise_for_status()  # fmt: skip
    httpx.put(
        f"{stack.url}/api/2.0/mlflow-artifacts/artifacts/{mnist.experiment_id}/{run_id}/artifacts/model.bin",
        content=bytes(300_000), timeout=60,
    ).raise_for_status()  # fmt: skip

    text = "\n".join(terminals.shown(stack.url, "runs", "show", run_id))

    assert text.startswith("base line\nstatus      ✓ finished\n")
    assert f"experiment  {mnist.name} ({mnist.experiment_id})" in text
    assert "note        A [red]note[/red]�[31m" in text
    assert "took        1 min 30 s" in text
    assert re.search(r"\nParams\nlr         0\.01\noptimizer  adam\n", text)
    assert re.search(r"\nloss +█[▁-█]{18}▁ +0\.4 +99 +20\d\d-", text)
    assert "\nTags\nteam  vision\n" in text
    assert "mlflow.note.content" not in text
    assert re.search(r"\nmodel\.bin +293 KiB\nnotes/\n", text)
    assert re.search(r"\ndata set +iris \(d1\) +training", text)


def test_a_shown_run_as_json(stack: Stack, rest: Rest, mnist: Mnist) -> None:
    run_id = mnist.run_ids["deep"]

    told = document(run(stack, "show", run_id, "--metric", "val/*", "--json"))

    assert told["run"] == factories.get_run(rest, run_id)
    assert told["experiment"]["name"] == mnist.name
    assert [(point["key"], point["step"]) for point in told["metrics"]] == [("val/accuracy", 3)]
    assert told["artifacts"]["root_uri"].endswith(f"{run_id}/artifacts")


def test_a_run_is_shown_though_its_artifacts_are_out_of_reach() -> None:
    found = {"info": {"run_id": "f" * 32, "experiment_id": "1", "run_name": "far away", "status": "FINISHED"}}
    with Platform() as platform:
        platform.answer("GET runs/get", Answer(body={"run": found}))
        platform.answer("GET experiments/get", Answer(body={"experiment": {"experiment_id": "1", "name": "e"}}))
        platform.answer("GET artifacts/list", error(400, "INVALID_PARAMETER_VALUE", "No store for sftp."))

        shown = run(platform, "show", "f" * 32)
        told = document(run(platform, "show", "f" * 32, "--json"))

    assert shown.exit_code == 0
    assert "far away" in shown.stdout
    assert shown.stderr == "The artifacts cannot be told: No store for sftp.\n"
    assert told["artifacts"] == {"error": "No store for sftp."}


def test_a_run_is_found_by_the_beginning_of_its_id_and_by_its_name(stack: Stack, mnist: Mnist) -> None:
    run_id = mnist.run_ids["wide"]
    arguments = ("--experiment", mnist.name, "--json")

    by_beginning = document(run(stack, "show", run_id[:10], *arguments))
    by_name = document(run(stack, "show", "base line", *arguments))

    assert by_beginning["run"]["info"]["run_id"] == run_id
    assert by_name["run"]["info"]["run_id"] == mnist.run_ids["base line"]


def test_a_name_of_several_runs_is_told_with_their_ids(stack: Stack, rest: Rest) -> None:
    name = factories.unique("twin")
    run_ids = {factories.new_run(rest, run_name=name) for _ in range(2)}

    shown = run(stack, "show", name)

    assert shown.exit_code == 2
    assert set(re.findall("[0-9a-f]{32}", shown.stderr.partition(";")[2])) == run_ids


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "f" * 32), 5, "not found"),
        (("show", "nobody's"), 5, 'There is no run "nobody\'s"; `modelstead runs ls` lists runs.'),
        (("show", 'it\'s "it"'), 5, "There is no run"),
        (("show", "a", "--experiment", "nowhere"), 5, "There is no experiment 'nowhere'"),
        (("ls", "nowhere"), 5, "There is no experiment 'nowhere'"),
        (("ls", "999999999"), 5, "There is no experiment '999999999'"),
        (("ls", "0", "--filter", "metrics.loss <"), 1, "Invalid"),
        (("ls", "--limit", "0"), 2, "--limit"),
        (("compare", "a"), 2, "Compare 2 to 50 runs, not 1."),
    ],
)
def test_what_goes_wrong_is_explained(stack: Stack, arguments: tuple[str, ...], code: int, said: str) -> None:
    shown = run(stack, *arguments)

    assert shown.exit_code == code
    assert said in shown.stderr
    assert shown.stdout == ""


def test_runs_are_compared_in_a_pipe(stack: Stack, mnist: Mnist) -> None:
    found = [mnist.run_ids[name] for name in RUNS]

    rows = table(run(stack, "compare", *found))
    whole = table(run(stack, "compare", *found, "--all"))

    assert rows[0] == ["what", *RUNS, "best"]
    by_name = {row[0]: row[1:] for row in rows[1:]}
    assert by_name["id"][:3] == found
    assert by_name["params.lr"] == ["0.1", "0.01", "0.01", "-"]
    assert by_name["metrics.loss"] == ["0.9", "0.4", "0.2", mnist.run_ids["deep"]]
    assert by_name["metrics.val/accuracy"][3] == mnist.run_ids["deep"]
    assert "params.optimizer" not in by_name
    assert ["params.optimizer", "adam", "adam", "adam", "-"] in whole


def test_which_way_is_better_can_be_said(stack: Stack, mnist: Mnist) -> None:
    found = [mnist.run_ids[name] for name in RUNS]

    rows = table(run(stack, "compare", *found, "--more", "loss", "--less", "val/accuracy"))

    best = {row[0]: row[4] for row in rows}
    assert best["metrics.loss"] == best["metrics.val/accuracy"] == mnist.run_ids["wide"]


def test_a_number_that_is_none_is_never_best(stack: Stack, rest: Rest, mnist: Mnist) -> None:
    broken = factories.new_run(rest, mnist.experiment_id, run_name="broken", start_time=1)
    factories.log(rest, broken, metrics=[factories.metric("loss", "NaN")])

    rows = table(run(stack, "compare", broken, mnist.run_ids["wide"], mnist.run_ids["wide"]))

    assert ["metrics.loss", "NaN", "0.9", "0.9", f"{mnist.run_ids['wide']} {mnist.run_ids['wide']}"] in rows
    rest.post("runs/delete", run_id=broken)


@pytest.mark.parametrize(("width", "tables"), [(40, 3), (80, 1), (200, 1)])
def test_a_comparison_fits_the_terminal(stack: Stack, mnist: Mnist, width: int, tables: int) -> None:
    lines = terminals.shown(stack.url, "runs", "compare", *(mnist.run_ids[name] for name in RUNS), width=width)
    text = "\n".join(lines)

    assert all(cell_len(line) <= width or line.startswith("2 params and metrics") for line in lines)
    assert len(re.findall("^id ", text, re.MULTILINE)) == tables
    assert len(re.findall("^Metrics$", text, re.MULTILINE)) == tables
    assert len(re.findall("★", text)) == 2
    assert "0.2 ★" in text


def test_a_comparison_as_json(stack: Stack, rest: Rest, mnist: Mnist) -> None:
    found = [mnist.run_ids["deep"], mnist.run_ids["wide"]]

    told = document(run(stack, "compare", *found, "--json"))

    assert told == {"runs": [factories.get_run(rest, run_id) for run_id in found]}
    assert math.isclose(told["runs"][0]["data"]["metrics"][1]["value"], 0.2)
