"""Who is told only a run's id and logs to it, on the real platform: before the run is begun, and when it never is."""

import time
from pathlib import Path

import pytest

import modelstead
from modelstead.runs import awaited_runs, settings
from modelstead.runs.run import Run, start_message
from modelstead.runs.watching import Points
from services.local import waiting
from tests import ingest
from tests.stack import Stack

_WAIT_S = 60.0


def _steps(run: Run, stack: Stack) -> list[int]:
    with modelstead.watch_run(run.run_id, address=stack.grpc_address, every_point=True, away_max_s=_WAIT_S) as watch:
        return [step for told in watch if isinstance(told, Points) for step in told.steps]


def _rejected(spool: Path) -> list[Path]:
    return list(spool.rglob("rejected/*.jsonl"))


def test_what_is_logged_before_another_process_begins_the_run_is_kept_and_arrives(stack: Stack, tmp_path: Path) -> None:
    run_id = ingest.new_id()
    joined = modelstead.start_run(stack.grpc_address, run_id=run_id, spool_dir=tmp_path / "joined")
    for step in range(50):
        joined.log({"m": float(step)}, step=step)
    assert waiting.until(lambda: "not found" in _trouble(joined), timeout_s=_WAIT_S)

    # As another node does, whose session is its own.
    beginning = Run(settings.load(address=stack.grpc_address, spool_dir=tmp_path / "beginning"), run_id)
    beginning.begin(start_message(run_name="begun later"))

    assert joined.flush(_WAIT_S)
    beginning.end()
    assert beginning.flush(_WAIT_S)
    assert _steps(joined, stack) == list(range(50))
    assert _rejected(tmp_path) == []


def test_a_run_that_nobody_begins_is_awaited_for_a_while_and_holds_up_nothing_then(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaited_runs, "PATIENCE_S", 1.0)
    how = {"address": stack.grpc_address, "spool_dir": tmp_path}
    nobodys = modelstead.start_run(**how, run_id=ingest.new_id())
    began = time.monotonic()
    nobodys.log({"m": 1.0})
    with modelstead.start_run(**how) as run:
        run.log({"m": 2.0}, step=7)

    assert run.flush(_WAIT_S)
    assert time.monotonic() - began >= awaited_runs.PATIENCE_S
    assert _steps(run, stack) == [7]
    assert len(_rejected(tmp_path)) == 1


def _trouble(run: Run) -> str:
    unsent = run._recorder.unsent()
    return unsent.trouble if unsent else ""
