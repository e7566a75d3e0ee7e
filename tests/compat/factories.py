"""Makes what a test needs on a server that it shares: every name is new, nothing relies on an empty server."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from tests.compat.rest import Json, Rest
from tests.compat.sampling import Point

UNKNOWN_EXPERIMENT = "99999999"
UNKNOWN_RUN = "0" * 32
UNKNOWN_MODEL = "m-" + "0" * 32
LARGEST = 1.7976931348623157e308
"""What an infinite metric becomes."""


def unique(prefix: str = "compat") -> str:
    return f"{prefix}-{uuid.uuid4().hex}"


def new_experiment(rest: Rest, **fields: Any) -> str:
    return str(rest.post("experiments/create", **{"name": unique(), **fields})["experiment_id"])


def new_run(rest: Rest, experiment_id: str | None = None, **fields: Any) -> str:
    body = {"experiment_id": experiment_id or new_experiment(rest), "start_time": 1000, **fields}
    return str(rest.post("runs/create", **body)["run"]["info"]["run_id"])


def new_model(rest: Rest, experiment_id: str | None = None, **fields: Any) -> str:
    body = {"experiment_id": experiment_id or new_experiment(rest), **fields}
    return str(rest.post("logged-models", **body)["model"]["info"]["model_id"])


def deleted_run(rest: Rest) -> str:
    run_id = new_run(rest)
    rest.post("runs/delete", run_id=run_id)
    return run_id


def deleted_experiment(rest: Rest) -> str:
    experiment_id = new_experiment(rest)
    rest.post("experiments/delete", experiment_id=experiment_id)
    return experiment_id


def pairs(values: Mapping[str, str]) -> list[Json]:
    """Params and tags as the wire has them."""
    return [{"key": key, "value": value} for key, value in values.items()]


def as_dict(entries: Iterable[Json]) -> dict[str, str]:
    """Params and tags of an answer, whose order is no promise."""
    return {entry["key"]: entry["value"] for entry in entries}


def metric(key: str = "m", value: float | str = 1.0, timestamp: int = 1, step: int = 0, **fields: Any) -> Json:
    """A point as the wire has it."""
    return {"key": key, "value": value, "timestamp": timestamp, "step": step, **fields}


def log(
    rest: Rest,
    run_id: str,
    *,
    metrics: Iterable[Json] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Log in batches of what one request may hold."""
    rest.post("runs/log-batch", run_id=run_id, params=pairs(params or {}), tags=pairs(tags or {}))
    points = list(metrics)
    for start in range(0, len(points), 1000):
        rest.post("runs/log-batch", run_id=run_id, metrics=points[start : start + 1000])


def log_metric(rest: Rest, run_id: str, **fields: Any) -> Json:
    return rest.post("runs/log-metric", **{"run_id": run_id, "key": "m", "value": 1, "timestamp": 1, **fields})


def new_run_with(rest: Rest, points: Iterable[Point]) -> str:
    """A run with these points of the metric m."""
    run_id = new_run(rest)
    log(rest, run_id, metrics=[metric("m", *point) for point in points])
    return run_id


def get_run(rest: Rest, run_id: str) -> Json:
    run = rest.get("runs/get", run_id=run_id)["run"]
    assert isinstance(run, dict)
    return run


def tags_of(rest: Rest, run_id: str) -> dict[str, str]:
    return as_dict(get_run(rest, run_id)["data"].get("tags", []))


def params_of(rest: Rest, run_id: str) -> dict[str, str]:
    return as_dict(get_run(rest, run_id)["data"].get("params", []))


def metrics_of(rest: Rest, run_id: str) -> dict[str, Json]:
    """Latest points by key."""
    return {point["key"]: point for point in get_run(rest, run_id)["data"].get("metrics", [])}


def history_of(rest: Rest, run_id: str, key: str = "m") -> list[Json]:
    return list(rest.get("metrics/get-history", run_id=run_id, metric_key=key).get("metrics", []))


def get_experiment(rest: Rest, experiment_id: str) -> Json:
    experiment = rest.get("experiments/get", experiment_id=experiment_id)["experiment"]
    assert isinstance(experiment, dict)
    return experiment


def get_model(rest: Rest, model_id: str) -> Json:
    model = rest.get(f"logged-models/{model_id}")["model"]
    assert isinstance(model, dict)
    return model


def dataset(name: str = "iris", digest: str = "d1", **fields: Any) -> Json:
    return {"name": name, "digest": digest, "source_type": "local", "source": "src", **fields}


def dataset_input(name: str = "iris", digest: str = "d1", *, context: str | None = None, **fields: Any) -> Json:
    tags = [] if context is None else [{"key": "mlflow.data.context", "value": context}]
    return {"dataset": dataset(name, digest, **fields), "tags": tags}


SOURCE = "s3://bucket/model"
"""A source that a version may have without a run or a logged model."""
PROMPT_TAG = {"key": "mlflow.prompt.is_prompt", "value": "true"}


def new_registered_model(rest: Rest, **fields: Any) -> str:
    body = {"name": unique(), **fields}
    return str(rest.post("registered-models/create", **body)["registered_model"]["name"])


def new_version(rest: Rest, name: str | None = None, **fields: Any) -> Json:
    body = {"name": name or new_registered_model(rest), "source": SOURCE, **fields}
    version = rest.post("model-versions/create", **body)["model_version"]
    assert isinstance(version, dict)
    return version


def get_registered_model(rest: Rest, name: str) -> Json:
    model = rest.get("registered-models/get", name=name)["registered_model"]
    assert isinstance(model, dict)
    return model


def get_version(rest: Rest, name: str, version: str) -> Json:
    found = rest.get("model-versions/get", name=name, version=version)["model_version"]
    assert isinstance(found, dict)
    return found


def set_alias(rest: Rest, name: str, alias: str, version: str) -> None:
    rest.post("registered-models/alias", name=name, alias=alias, version=version)
