"""Objects for tests of use-cases, with only what matters spelled out."""

import uuid
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from services.common.database import Database
from services.common.pages import PageTokens
from services.common.secret_files import Secret
from services.tracking.experiments.service import Experiments
from services.tracking.logged_models.service import LoggedModels
from services.tracking.run_logs import model as logs_model
from services.tracking.run_logs.model import LogEntry
from services.tracking.runs.service import Runs

PAGES = PageTokens(Secret("k" * 32))


def new_id() -> str:
    return uuid.uuid4().hex


def experiments(db: Database) -> Experiments:
    return Experiments(db=db, pages=PAGES, artifact_root="mlflow-artifacts:/", now_ms=lambda: 1)


def runs(db: Database) -> Runs:
    return Runs(db=db, pages=PAGES, now_ms=lambda: 1, new_id=new_id)


def logged_models(db: Database) -> LoggedModels:
    return LoggedModels(db=db, pages=PAGES, now_ms=lambda: 1, new_id=new_id)


async def new_experiment(db: Database) -> str:
    return await experiments(db).create(name=new_id(), artifact_location="", tags={}, caller="tester", request_id="")


async def new_run(db: Database, experiment_id: str, **given: Any) -> str:
    defaults: dict[str, Any] = {"user_id": "", "run_name": "", "start_time": 0, "tags": {}, "request_id": ""}
    run = await runs(db).create(experiment_id=experiment_id, caller="tester", **defaults | given)
    return run.info.run_id


def batch(
    run_id: str,
    *,
    metrics: Sequence[tuple[str, float, int, int]] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    model_id: str = "",
) -> LogEntry:
    """`metrics` are (key, value, timestamp, step)."""
    keys, values, timestamps, steps = zip(*metrics, strict=True) if metrics else ((), (), (), ())
    table = SimpleNamespace(
        key=keys, value=values, timestamp=timestamps, step=steps,
        model_id=[model_id] if model_id else [], dataset_name=[], dataset_digest=[],
    )  # fmt: skip
    pairs = [
        [SimpleNamespace(key=key, value=value) for key, value in (found or {}).items()] for found in (params, tags)
    ]
    return logs_model.batch_entry(run_id, table, *pairs)
