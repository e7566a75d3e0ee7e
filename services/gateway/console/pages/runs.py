"""A run: its latest values, and with scripts its charts as they grow."""

from typing import Any

from services.gateway.console.visits import Page, View, Visit


async def _show(visit: Visit) -> Page:
    run = (await visit.get("runs/get", run_id=visit.variables["run_id"]))["run"]
    experiment = await visit.get("experiments/get", experiment_id=run["info"]["experiment_id"])
    data = run["data"]
    values = {
        "info": run["info"],
        "experiment": experiment["experiment"],
        "metrics": _by_key(data.get("metrics", [])),
        "params": _by_key(data.get("params", [])),
        "tags": [tag for tag in _by_key(data.get("tags", [])) if not tag["key"].startswith("mlflow.")],
    }
    return Page(template="run.html", values=values)


def _by_key(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(pairs, key=lambda pair: str(pair["key"]))


VIEWS = (View(path="runs/{run_id}", get=_show),)
