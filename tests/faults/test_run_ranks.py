"""Ranks that are killed, or stand still, or are cut off: the others and the run itself are told truly what became of
them.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.local import waiting
from tests import patience
from tests.stack import Stack

# What is promised of a rank that is killed.
_LOST_WITHIN_S = 30
_TIMEOUT_S = 300

_Process = subprocess.Popen[str]


@contextmanager
def _ranks(stack: Stack, spool: Path, job: str, *, count: int) -> Iterator[tuple[str, list[_Process]]]:
    """Run a job as so many processes of one launch; yields their run."""
    launch_id = uuid.uuid4().hex
    with ExitStack() as left:
        processes = [
            left.enter_context(_job(stack, spool, job, rank=rank, world_size=count, launch_id=launch_id))
            for rank in range(count)
        ]
        run_ids = {process.stdout.readline().strip() for process in processes if process.stdout}
        assert len(run_ids) == 1
        yield run_ids.pop(), processes


@contextmanager
def _job(stack: Stack, spool: Path, name: str, **environ: Any) -> Iterator[_Process]:
    variables = {f"MODELSTEAD_{key.upper()}": str(value) for key, value in environ.items()}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.client.jobs", name, stack.grpc_address, str(spool)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _get(stack: Stack, route: str, **query: str) -> Any:
    answer = patience.get(f"{stack.url}/api/2.0/mlflow/{route}", **query)
    answer.raise_for_status()
    return answer.json()


def _states(stack: Stack, run_id: str) -> list[str]:
    return [rank["state"] for rank in _get(stack, "runs/ranks/list", run_id=run_id).get("ranks", [])]


def _run(stack: Stack, run_id: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Return the run's status, its info and its tags."""
    run = _get(stack, "runs/get", run_id=run_id)["run"]
    return run["info"]["status"], run["info"], {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}


def _becomes(check: Callable[[], bool], *, timeout_s: float = _TIMEOUT_S) -> bool:
    return waiting.until(check, timeout_s=timeout_s)


@pytest.mark.alone
def test_a_rank_that_is_killed_is_lost_and_when_all_are_the_run_has_failed(own_stack: Stack, tmp_path: Path) -> None:
    with _ranks(own_stack, tmp_path / "spool", "logs-until-told", count=3) as (run_id, processes):
        assert _becomes(lambda: _states(own_stack, run_id) == ["RUNNING"] * 3)
        assert _becomes(lambda: all("last_step" in rank for rank in _listed(own_stack, run_id)))

        processes[1].kill()
        killed = time.monotonic()
        lost = _becomes(lambda: _states(own_stack, run_id)[1] == "LOST", timeout_s=2 * _LOST_WITHIN_S)
        took_s = time.monotonic() - killed
        others = _states(own_stack, run_id)
        status, info, _ = _run(own_stack, run_id)

        assert lost
        assert took_s < _LOST_WITHIN_S
        assert others == ["RUNNING", "LOST", "RUNNING"]
        assert (status, info.get("end_time")) == ("RUNNING", None)

        killed_ms = time.time() * 1000
        for process in processes:
            process.kill()
        assert _becomes(lambda: _run(own_stack, run_id)[0] == "FAILED")

    status, info, tags = _run(own_stack, run_id)
    last_step = max(rank["last_step"] for rank in _listed(own_stack, run_id))
    assert _states(own_stack, run_id) == ["LOST"] * 3
    # When they were last heard of, not when they were given up.
    assert killed_ms - 15_000 < info["end_time"] < killed_ms + 5_000
    assert tags["modelstead.failure"] == f"3 of 3 ranks were lost; the last step is {last_step}"


def test_a_run_goes_on_when_ranks_that_stood_still_are_back_and_ends_with_the_last_of_them(
    own_stack: Stack, tmp_path: Path
) -> None:
    with _ranks(own_stack, tmp_path / "spool", "logs-until-told", count=2) as (run_id, processes):
        assert _becomes(lambda: _states(own_stack, run_id) == ["RUNNING"] * 2)

        for process in processes:
            process.send_signal(signal.SIGSTOP)
        assert _becomes(lambda: _run(own_stack, run_id)[0] == "FAILED")
        for process in processes:
            process.send_signal(signal.SIGCONT)
        assert _becomes(lambda: _states(own_stack, run_id) == ["RUNNING"] * 2)
        assert _becomes(lambda: _run(own_stack, run_id)[0] == "RUNNING")
        _, info, tags = _run(own_stack, run_id)
        assert "end_time" not in info
        assert "modelstead.failure" not in tags

        processes[0].terminate()
        processes[0].communicate(timeout=_TIMEOUT_S)
        assert _becomes(lambda: _states(own_stack, run_id) == ["FINISHED", "RUNNING"])
        assert _run(own_stack, run_id)[0] == "RUNNING"
        processes[1].terminate()
        processes[1].communicate(timeout=_TIMEOUT_S)

    assert _becomes(lambda: _run(own_stack, run_id)[0] == "FINISHED")


def _listed(stack: Stack, run_id: str) -> list[dict[str, Any]]:
    return list(_get(stack, "runs/ranks/list", run_id=run_id).get("ranks", []))
