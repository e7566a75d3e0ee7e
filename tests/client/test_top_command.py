"""`modelstead top` on a real platform while something is logged, and while something is away."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator

from rich.cells import cell_len
from typer.testing import CliRunner

from modelstead.cli import application
from tests.client import terminals
from tests.client.platform import Answer, Platform, error
from tests.client.terminals import Terminal
from tests.compat import factories
from tests.compat.rest import Rest
from tests.stack import Stack

STATUS = {
    "process": {"version": "9", "replica": "a", "start_time": "2026-11-27T16:00:00.5Z"}, "points_per_second": 1500.0
}  # fmt: skip
AWAY = error(503, "TEMPORARILY_UNAVAILABLE", "The registry does not answer.", Retry_After="0")


def new_run(stack: Stack) -> tuple[str, str]:
    """A run under way that has just logged, and its name."""
    rest, name = Rest(stack.url), factories.unique("busy")
    run_id = factories.new_run(rest, run_name=name, start_time=4_000_000_000_000)
    factories.log(rest, run_id, metrics=[factories.metric(step=step) for step in range(500)])
    rest.close()
    return run_id, name


def test_a_look_as_json_is_what_the_services_tell(stack: Stack) -> None:
    run_id, _ = new_run(stack)

    shown = CliRunner().invoke(application(), ["top", "--json"], env=terminals.environment(stack.url))

    told = json.loads(shown.stdout)
    assert set(told) == {"tracking", "registry", "artifacts", "runs"}
    assert told["tracking"]["point_count"] >= 500
    assert all(told[service]["process"]["replica"] for service in ("tracking", "registry", "artifacts"))
    assert run_id in [run["info"]["run_id"] for run in told["runs"]]


def test_a_look_in_a_terminal_fits_it(stack: Stack) -> None:
    run_id, name = new_run(stack)

    lines = terminals.shown(stack.url, "top", "--once", width=80)

    text = "\n".join(lines)
    assert all(cell_len(line) <= 80 for line in lines)
    assert [line for line in lines if line in ("Logging", "Registry", "Artifacts", "Runs under way")] == [
        "Logging", "Registry", "Artifacts", "Runs under way"
    ]  # fmt: skip
    assert re.search(r"^points/s +\S+ +[▁-█]$", text, re.MULTILINE)
    assert re.search(r"^under way +[━╌]{16} ", text, re.MULTILINE)
    assert re.search(f"^{run_id[:8]}.*{name[:10]}", text, re.MULTILINE)


def test_a_terminal_is_refreshed_until_somebody_leaves(stack: Stack) -> None:
    with Terminal(stack.url, "top", "--every", "0.1", width=100) as terminal:
        terminal.until(r"(?s)Runs under way.*(Modelstead at.*){3}")
        _, name = new_run(stack)
        terminal.until(name[:10])
        # The curve grows.
        terminal.until(r"points/s +\S+ +[▁-█]{5}")
        terminal.interrupt()

        assert terminal.end() == 0


@contextlib.contextmanager
def _piped(url: str) -> Iterator[Iterator[str]]:
    """The lines that a pipe gets."""
    with subprocess.Popen(
        [sys.executable, "-c", "from modelstead.cli import main; main()", "top", "--every", "0.1"],
        env=terminals.environment(url), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        yield process.stdout
        process.kill()


def test_a_pipe_gets_a_line_each_time(stack: Stack) -> None:
    with _piped(stack.url) as told:
        lines = [next(told).split() for _ in range(4)]

    assert lines[0][:3] == ["time", "points_per_second", "point_count"]
    assert all(len(line) == len(lines[0]) for line in lines)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line[0]) for line in lines[1:])


def test_who_is_away_is_told_and_the_others_are_shown() -> None:
    with Platform() as platform:
        platform.answer("GET status/tracking", Answer(body=STATUS))
        platform.answer("GET status/registry", AWAY)
        platform.answer("GET status/artifacts", Answer(body=STATUS))

        lines = terminals.shown(platform.url, "top", "--once")
        shown = CliRunner().invoke(application(), ["top", "--json"], env=terminals.environment(platform.url))

    assert lines[lines.index("Registry") + 1] == "The registry does not answer."
    assert any(re.match(r"points/s +1\.50k", line) for line in lines)
    assert json.loads(shown.stdout) == {
        "tracking": STATUS, "registry": {"error": "The registry does not answer."}, "artifacts": STATUS, "runs": []
    }  # fmt: skip


def test_replicas_are_added_up() -> None:
    load = {"active_run_count": 20, "seal_lag_ms": 25_000}
    other = {**STATUS, **load, "process": {**STATUS["process"], "replica": "b"}, "points_per_second": 500.0}
    with Platform() as platform:
        platform.answer("GET status/tracking", *[Answer(body={**STATUS, **load}), Answer(body=other)] * 500)
        for service in ("registry", "artifacts"):
            platform.answer(f"GET status/{service}", Answer(body=STATUS))

        with Terminal(platform.url, "top", "--every", "0.1") as terminal:
            terminal.until(r"points/s +1\.50k +█\s")
            terminal.until(r"points/s +2\.00k ")
            terminal.until("2 replicas, 9")
            terminal.until("40 logged in the last minute")
        with _piped(platform.url) as lines:
            # Of both together; but the latest of them is no later than either.
            assert next(words for words in map(str.split, lines) if words[-1] == "40")[-2] == "25000"


def test_a_platform_that_is_away_or_refuses_ends_a_look() -> None:
    with Platform() as platform:
        for service in ("tracking", "registry", "artifacts"):
            platform.answer(f"GET status/{service}", AWAY)
        away = CliRunner().invoke(application(), ["top", "--once"], env=terminals.environment(platform.url))
        for service in ("tracking", "registry", "artifacts"):
            platform.answer(f"GET status/{service}", error(403, "PERMISSION_DENIED", "Not for you."))
        refused = CliRunner().invoke(application(), ["top"], env=terminals.environment(platform.url))

    assert (away.exit_code, away.stderr) == (7, "The registry does not answer.\n")
    assert (refused.exit_code, refused.stderr) == (3, "Not for you.\n")
