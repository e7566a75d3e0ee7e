"""examples/ddp_training.py with `modelstead://`, while tracking and Postgres are killed: every step of every process is
there afterwards, once.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from services.local import waiting
from tests.client import plugins
from tests.stack import Stack

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ddp_training.py"
_RANKS, _STEPS = 4, 10_000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_step_of_every_rank_and_loader_arrives_once(tmp_path: Path) -> None:
    with Stack(tmp_path / "stack", artifact_stores="") as stack, _started(stack, tmp_path) as process:
        client = MlflowClient(stack.url)
        assert waiting.until(lambda: _has_points(client), timeout_s=300)
        for victim in ("tracking", "postgres"):
            _kill_and_restart(stack, victim)
            stack.wait_until_ready()
        out, told = process.communicate(timeout=600)

        [run] = _runs(client)
        assert process.returncode == 0, told
        assert run.info.run_id in out
        assert run.info.status == "FINISHED"
        assert _ranks(stack, run.info.run_id) == [(rank, "FINISHED") for rank in range(_RANKS)]
        for rank in range(_RANKS):
            for key in (f"rank_{rank}/loss", f"rank_{rank}/loaded"):
                steps = [point.step for point in client.get_metric_history(run.info.run_id, key)]
                assert steps == list(range(_STEPS)), key


@contextmanager
def _started(stack: Stack, path: Path) -> Iterator["subprocess.Popen[str]"]:
    environ = {
        # What other tests of this process have said to MLflow is not meant for this one.
        **{key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")},
        "PYTHONPATH": os.pathsep.join([str(plugins.install(path / "plugins")), *sys.path]),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": "modelstead://" + stack.url.removeprefix("http://"),
        "MLFLOW_EXPERIMENT_NAME": f"ddp {uuid.uuid4().hex}",
        "MODELSTEAD_SPOOL_DIR": str(path / "spool"),
        "MODELSTEAD_EXIT_TIMEOUT_S": "240",
        "STEPS": str(_STEPS),
    }
    process = subprocess.Popen(
        [sys.executable, "-P", str(_EXAMPLE)], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _runs(client: MlflowClient) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments))


def _ranks(stack: Stack, run_id: str) -> list[tuple[int, str]]:
    answer = httpx.get(f"{stack.url}/api/2.0/mlflow/runs/ranks/list", params={"run_id": run_id}, timeout=60)
    return [(rank["rank"], rank["state"]) for rank in answer.raise_for_status().json()["ranks"]]


def _has_points(client: MlflowClient) -> bool:
    return any(run.data.metrics for run in _runs(client))


def _kill_and_restart(stack: Stack, victim: str) -> None:
    if victim == "postgres":
        stack.postgres.kill()
        stack.postgres.start()
    else:
        stack.kill(victim)
        stack.start(victim)
