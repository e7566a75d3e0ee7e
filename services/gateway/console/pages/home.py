"""The first page: what this is, the runs and the models of late, and what waits for somebody."""

import asyncio
from typing import Any

from services.gateway.console.visits import Page, View, Visit

_RUNS_MAX = 8
_MODELS_MAX = 8
_EXPERIMENTS_MAX = 1000


async def _show(visit: Visit) -> Page:
    experiments, models = await asyncio.gather(
        visit.get("experiments/search", max_results=_EXPERIMENTS_MAX, order_by=["last_update_time DESC"]),
        visit.get("registered-models/search", max_results=_MODELS_MAX, order_by=["timestamp DESC"]),
    )
    names = {experiment["experiment_id"]: experiment["name"] for experiment in experiments.get("experiments", [])}
    values = {
        "experiments": names,
        "runs": await _runs(visit, list(names)),
        "models": models.get("registered_models", []),
    }
    return Page(template="home.html", values=values)


async def _runs(visit: Visit, experiment_ids: list[str]) -> list[dict[str, Any]]:
    if not experiment_ids:
        return []
    answer = await visit.call(
        "POST",
        "runs/search",
        experiment_ids=experiment_ids,
        max_results=_RUNS_MAX,
        order_by=["attributes.start_time DESC"],
    )
    runs: list[dict[str, Any]] = answer.get("runs", [])
    return runs


VIEWS = (View(path="", get=_show),)
