"""`modelstead runs watch` on a real platform, with a training job that does what the test says."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from modelstead.cli import application
from tests.client import terminals
from tests.client.platform import Answer, Platform, error
from tests.client.terminals import TIMEOUT_S, Terminal
from tests.compat import factories
from tests.compat.rest import Rest
from tests.stack import Stack

# Logs as many more steps as each line says, and ends with its standard input, or as the last line says.
_JOB = """
import json, sys, modelstead
with modelstead.start_run(sys.argv[1], **json.loads(sys.argv[2])) as run:
    print(run.run_id, flush=True)
    step = 0
    for line in sys.stdin:
        if not line.strip().isdigit():
            raise RuntimeError(line)
        for step in range(step, step + int(line)):
            run.log({"loss": 1 / (1 + step), "val/accuracy": step / (1 + step)}, step=step)
        step += 1
        assert run.flush(100)
        print(step, flush=True)
"""
RUN_ID = "f" * 32
WATCHED = {"run_id": RUN_ID, "run_name": "watched", "experiment_id": "1", "start_time": 1000}


class Job:
    """A training job in a process of its own."""

    def __init__(self, stack: Stack, spool: Path, **how: Any) -> None:
        how = {"experiment": factories.unique("watched"), "run_name": "job", "spool_dir": str(spool), **how}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _JOB, stack.grpc_address, json.dumps(how)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=terminals.environment(stack.url),
        )  # fmt: skip
        self.run_id = self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:
            # Its end closes the pipes.
            pass

    def log(self, count: int) -> None:
        """Log so many steps, and return when they are stored."""
        self._tell(str(count))
        self._line()

    def finish(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(TIMEOUT_S)

    def fail(self) -> None:
        self._tell("fail")
        self._process.wait(TIMEOUT_S)

    def _tell(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        assert line, self._process.communicate()[1]
        return line


@pytest.fixture
def job(stack: Stack, tmp_path: Path) -> Iterator[Job]:
    with Job(stack, tmp_path) as running:
        running.log(50)
        yield running


def keep_logging(job: Job, terminal: Terminal, pattern: str) -> None:
    """Log step after step until a terminal shows something."""
    deadline = time.monotonic() + TIMEOUT_S
    while not re.search(pattern, terminal.text):
        assert time.monotonic() < deadline, f"no {pattern!r} in:\n{terminal.text[-4000:]}"
        job.log(1)
        terminal.read_now()


def stream(*events: tuple[str, dict[str, Any]]) -> Answer:
    """A stream that ends after some events; the last id is how many there were."""
    text = "".join(
        f"id: {number}\nevent: {kind}\ndata: {json.dumps({kind: data})}\n\n" if kind else ":\n\n"
        for number, (kind, data) in enumerate(events, 1)
    )
    return Answer(body=text, headers={"Content-Type": "text/event-stream"})


def test_a_run_is_seen_as_it_goes_on_until_it_finishes(stack: Stack, job: Job) -> None:
    with Terminal(stack.url, "runs", "watch", job.run_id, "--steps", "200", width=80) as terminal:
        terminal.until(r"loss +█[▁-█]+ +0\.02 +49 ")
        job.log(100)
        terminal.until(r"step 149 of 200  ━{18}╌{6} 74%")
        terminal.until(r"loss +█[▁-█]+ +0\.0066667 +149 ")
        terminal.until(r"val/accuracy +▁[▁-█]+█ +0\.99333 +149 ")
        # It is told for ten seconds, which may be over before this process gets to read it.
        keep_logging(job, terminal, r"[1-9]\S* points/s, [1-9]\S* steps/s")
        job.finish()

        assert terminal.end() == 0
        assert "job  ✓ finished" in terminal.text
        assert all(cell_len(line) <= 80 for line in terminal.lines)


def test_a_run_that_fails_is_told_by_the_exit_code(stack: Stack, job: Job) -> None:
    with Terminal(stack.url, "runs", "watch", job.run_id, width=120) as terminal:
        terminal.until("● running")
        job.log(10)
        job.fail()

        assert terminal.end() == 1
        last = terminal.text.rpartition("✗ failed")[2]
        # The end is not told before the last points are.
        assert "59" in last


@pytest.mark.parametrize(("status", "code"), [("FINISHED", 0), ("FAILED", 1), ("KILLED", 1)])
def test_a_run_that_is_over_is_told_in_a_pipe(stack: Stack, status: str, code: int) -> None:
    rest = Rest(stack.url)
    run_id = factories.new_run(rest)
    factories.log(rest, run_id, metrics=[factories.metric("a b", step / 2, 1000 + step, step) for step in range(5)])
    rest.post("runs/update", run_id=run_id, status=status, end_time=2000)
    rest.close()

    shown, every = (watch(stack.url, run_id, *options) for options in ((), ("--every-point",)))

    assert shown.returncode == every.returncode == code
    lines = [line.split("  ") for line in shown.stdout.splitlines()]
    assert [[part.strip() for part in line if part.strip()][1:] for line in lines] == [
        ["status", "-", status], ["a b", "4", "2.0"]
    ]  # fmt: skip
    assert len(every.stdout.splitlines()) == 6


def test_json_is_a_document_for_each_event(stack: Stack, job: Job) -> None:
    job.finish()

    shown = watch(stack.url, job.run_id, "--metric", "loss", "--json")

    documents = [json.loads(line) for line in shown.stdout.splitlines()]
    assert shown.returncode == 0
    assert documents[0]["run"]["status"] == "FINISHED"
    assert [(one["points"]["key"], len(one["points"]["steps"])) for one in documents[1:]] == [("loss", 50)]


def test_ctrl_c_leaves_the_run_alone(stack: Stack, job: Job) -> None:
    with Terminal(stack.url, "runs", "watch", job.run_id) as terminal:
        terminal.until("● running")
        terminal.interrupt()
        assert terminal.end() == 130

    job.log(1)


def test_ranks_are_told(stack: Stack, tmp_path: Path) -> None:
    how = {"launch_id": factories.unique(), "experiment": factories.unique(), "world_size": 2}
    with Job(stack, tmp_path / "0", rank=0, **how) as first, Job(stack, tmp_path / "1", rank=1, **how) as second:
        first.log(10)
        second.log(10)
        assert first.run_id == second.run_id

        with Terminal(stack.url, "runs", "watch", first.run_id) as terminal:
            # What is known of ranks may be four seconds old, and it is asked for when something is told.
            keep_logging(first, terminal, "ranks: 2 running")


def test_a_run_that_there_is_not_is_told(stack: Stack) -> None:
    shown = watch(stack.url, "0" * 32)

    assert shown.returncode == 5
    assert "0" * 32 in shown.stderr


def test_the_number_of_steps_is_taken_from_a_parameter() -> None:
    with platform() as fake:
        found = {"info": WATCHED, "data": {"params": [{"key": "max_steps", "value": "40"}]}}
        fake.answer("GET runs/get", Answer(body={"run": found}))
        metric = {"key": "loss", "value": 1.0, "timestamp": 1, "step": 10}
        fake.answer("GET runs/watch", stream(("run", {**WATCHED, "status": "KILLED", "metrics": [metric]}), ("", {})))
        with Terminal(fake.url, "runs", "watch", RUN_ID) as terminal:
            assert terminal.end() == 1

    assert "step 10 of 40  ━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌ 25%" in terminal.text


def test_a_broken_watch_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    points = {"key": "loss", "steps": [1], "timestamps": [1], "values": [0.5]}
    with platform() as fake:
        fake.answer(
            "GET runs/watch",
            stream(("run", {**WATCHED, "status": "RUNNING"}), ("points", points)),
            error(503, "TEMPORARILY_UNAVAILABLE", "The gateway is stopping."),
            Answer(cut=True),
            stream(("run", {**WATCHED, "status": "FINISHED"}), ("", {})),
        )
        shown = CliRunner().invoke(application(), ["runs", "watch", RUN_ID], env=terminals.environment(fake.url))

        assert shown.exit_code == 0
        assert [call.last_event_id for call in fake.asked("runs/watch")] == [None, "2", "2", "2"]
        assert "The gateway is stopping." in shown.stdout
        assert shown.stdout.splitlines()[-1].endswith("FINISHED")


def test_ranks_that_are_not_well_are_told() -> None:
    ranks = [
        {"rank": rank, "world_size": 4, "node": f"n{rank}", "state": state, "steps_behind": behind, "last_step": 9}
        for rank, (state, behind) in enumerate([("RUNNING", 0), ("RUNNING", 7), ("LOST", 0), ("FINISHED", 0)])
    ]
    with platform() as fake:
        fake.answer("GET runs/ranks/list", Answer(body={"ranks": ranks}))
        fake.answer("GET runs/watch", stream(("run", {**WATCHED, "status": "FAILED"}), ("", {})))
        with Terminal(fake.url, "runs", "watch", RUN_ID) as watched:
            watched.end()
        shown = terminals.shown(fake.url, "runs", "show", RUN_ID)

    told = "2 running, 1 lost, 1 finished; rank 1 is 7 steps behind"
    assert f"ranks: {told}" in watched.text
    at = shown.index("Ranks")
    assert shown[at + 1] == told
    assert [line.split()[:3] for line in shown[at + 3 : at + 5]] == [["2", "n2", "lost"], ["1", "n1", "running"]]


def platform() -> Platform:
    """A platform with one run, whose watch the test says."""
    fake = Platform()
    fake.answer("GET runs/get", Answer(body={"run": {"info": WATCHED}}))
    fake.answer("GET experiments/get", Answer(body={"experiment": {"experiment_id": "1", "name": "e"}}))
    fake.answer("GET artifacts/list", Answer())
    return fake


def watch(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", "from modelstead.cli import main; main()", "runs", "watch", *arguments],
        env=terminals.environment(url), capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
