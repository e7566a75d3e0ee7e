"""Training that logs while everything around it fails: what `log` took is there afterwards, once.

A trainer or a service is killed 3 times, in the long form 50 times.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.entities import Metric, RunStatus

from modelstead.mlflow_plugin.tracking import TrackingStore
from services.local import waiting
from tests import patience
from tests.client import plugins
from tests.faults.commands import sync
from tests.long_form import IS_LONG, TEST_TIMEOUT_S
from tests.stack import Stack

pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)

KILLS = 50 if IS_LONG else 3
# How long what `log` took may be in memory only: 20 ms, and what a busy machine's scheduler adds.
_WINDOW_NS = 500_000_000
_TIMEOUT_S = 120
# A job that ends waits so long for what it logged to arrive.
_EXIT = {"EXIT_TIMEOUT_S": "60"}


@contextmanager
def _ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Leave no process behind."""
    try:
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _job(name: str, address: str, spool: Path, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.client.jobs", name, address, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    with _ended(process):
        yield process


def _run_id(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def _said_for(process: "subprocess.Popen[str]", seconds: float) -> str:
    """Read what a job that says when it logged says about so many seconds of logging."""
    assert process.stdout
    said = [process.stdout.readline()]
    while int(said[-1].split()[1]) < int(said[0].split()[1]) + seconds * 1e9:
        said.append(process.stdout.readline())
    return "".join(said)


def _stored(stack: Stack, run_id: str, key: str = "m") -> list[int]:
    """Return the steps of a metric in the order of the server's pages; [] if there is no such run."""
    history = f"{stack.url}/api/2.0/mlflow/metrics/get-history"
    answer = patience.get(history, run_id=run_id, metric_key=key)
    if answer.status_code == 404:
        return []
    answer.raise_for_status()
    return [point["step"] for point in answer.json().get("metrics", [])]


@pytest.mark.alone
def test_a_trainer_that_is_killed_has_lost_nothing_and_a_second_sync_writes_nothing(
    own_stack: Stack, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    own_stack.kill("tracking")
    promised: dict[str, set[int]] = {}
    for attempt in range(KILLS):
        with _job("logs-until-killed", own_stack.grpc_address, spool) as process:
            run_id = _run_id(process)
            said = _said_for(process, 0.3 + 0.2 * (attempt % 3))
            killed_ns = time.monotonic_ns()
            process.kill()
            # To its end as its first line was: `communicate` would leave out what came with that one.
            assert process.stdout
            said += process.stdout.read()
        # The last line may be half of one.
        lines = [line.split() for line in said.splitlines()[:-1]]
        promised[run_id] = {int(step) for step, at in lines if int(at) < killed_ns - _WINDOW_NS}
    own_stack.start("tracking")
    own_stack.wait_until_ready()

    first = sync(spool)
    stored = {run_id: _stored(own_stack, run_id) for run_id in promised}
    second = sync(spool)

    assert first.returncode == 0, first.stderr
    assert f"of {KILLS} sessions sent" in first.stdout
    assert second.stdout.startswith("0 batches of 0 sessions sent")
    for run_id, steps in promised.items():
        assert stored[run_id] == list(range(len(stored[run_id])))
        assert steps <= set(stored[run_id])
        assert _stored(own_stack, run_id) == stored[run_id]


@pytest.mark.parametrize("victim", ["tracking", "postgres"])
def test_training_goes_on_while_what_it_logs_to_is_killed(own_stack: Stack, tmp_path: Path, victim: str) -> None:
    with _job("logs-until-told", own_stack.grpc_address, tmp_path / "spool", **_EXIT) as process:
        run_id = _run_id(process)
        for _ in range(KILLS):
            before = len(_stored(own_stack, run_id))
            assert waiting.until(lambda before=before: len(_stored(own_stack, run_id)) > before, timeout_s=60)  # type: ignore[misc]
            _kill_and_restart(own_stack, victim)
            own_stack.wait_until_ready()
        process.terminate()
        out, told = process.communicate(timeout=_TIMEOUT_S)

    count = int(out.split()[-1])
    assert "not sent" not in told
    assert _stored(own_stack, run_id) == list(range(count))
    # Liveness: a job that begins now is stored as well.
    with _job("returns", own_stack.grpc_address, tmp_path / "spool", **_EXIT) as process:
        run_id = _run_id(process)
        process.communicate(timeout=_TIMEOUT_S)
    assert len(_stored(own_stack, run_id)) == 200


def test_mlflow_code_logs_and_ends_its_run_while_tracking_is_away(
    own_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSTEAD_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("MODELSTEAD_EXIT_TIMEOUT_S", "1")
    store = TrackingStore("modelstead://" + own_stack.url.removeprefix("http://"))
    run_id = store.create_run("0", "user", 1, [], "r").info.run_id
    store.log_metric(run_id, Metric("m", 0.5, 1, 0))
    store.get_run(run_id)

    own_stack.kill("tracking")
    store.log_metric(run_id, Metric("m", 1.0, 2, 1))
    ended = store.update_run_info(run_id, RunStatus.FINISHED, 5, "renamed")
    own_stack.start("tracking")
    own_stack.wait_until_ready()

    assert ended.end_time == 5
    assert waiting.until(lambda: store.get_run(run_id).info.status == "FINISHED", timeout_s=60)
    run = store.get_run(run_id)
    assert (run.info.end_time, run.info.run_name, run.data.metrics) == (5, "renamed", {"m": 1.0})


@pytest.mark.parametrize(
    ("last_words", "status", "environ"),
    [
        ("mlflow.log_metric('m', 1.0, step=1)", "FINISHED", {}),
        # All that was logged has arrived, so nothing tells that the server is away but that it does not answer.
        ("pass", "FINISHED", {}),
        ("raise ValueError('training has failed')", "FAILED", {"MODELSTEAD_LAUNCH_ID": "job", "WORLD_SIZE": "1"}),
    ],
)
def test_an_mlflow_script_ends_as_usual_while_tracking_is_away(
    own_stack: Stack, tmp_path: Path, last_words: str, status: str, environ: dict[str, str]
) -> None:
    spool = tmp_path / "spool"
    script = f"""
import sys, mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("m", 0.5)
    mlflow.get_run(run.info.run_id)
    print(run.info.run_id, flush=True)
    sys.stdin.readline()
    {last_words}
"""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
            "PYTHONPATH": os.pathsep.join([str(plugins.install(tmp_path)), *sys.path]),
            "MLFLOW_TRACKING_URI": "modelstead://" + own_stack.url.removeprefix("http://"),
            "MODELSTEAD_SPOOL_DIR": str(spool),
            "MODELSTEAD_EXIT_TIMEOUT_S": "1",
            **environ,
        },
    )
    with _ended(process):
        run_id = _run_id(process)
        own_stack.kill("tracking")
        # MLflow's own client would go on asking for four minutes.
        _, told = process.communicate("\n", timeout=_TIMEOUT_S)
    own_stack.start("tracking")
    own_stack.wait_until_ready()
    synced = sync(spool)

    assert process.returncode == (status == "FAILED"), told
    assert told.count("Traceback") == (status == "FAILED"), told
    assert synced.returncode == 0, synced.stderr
    info = patience.get(f"{own_stack.url}/api/2.0/mlflow/runs/get", run_id=run_id).json()["run"]["info"]
    assert (info["status"], info["end_time"] > 0) == (status, True)


def _kill_and_restart(stack: Stack, victim: str) -> None:
    if victim == "postgres":
        stack.postgres.kill()
        stack.postgres.start()
    else:
        stack.kill(victim)
        stack.start(victim)


@pytest.mark.parametrize("name", ["threads", "forks", "forks-after-having-sent", "spawns", "loaders"])
def test_each_process_and_thread_of_a_job_arrives_once(own_stack: Stack, tmp_path: Path, name: str) -> None:
    with _job(name, own_stack.grpc_address, tmp_path / "spool", **_EXIT) as process:
        run_id = _run_id(process)
        _, told = process.communicate(timeout=_TIMEOUT_S)

    assert process.returncode == 0, told
    for key in ("m", "m0", "m1", "m2"):
        assert _stored(own_stack, run_id, key) == list(range(200)), key
