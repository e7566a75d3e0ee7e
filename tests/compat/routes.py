"""Every route of MLflow's first tier: what it requires, of what kind its fields are, a call that it grants."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.compat import factories
from tests.compat.rest import Json, Rest

Kind = Literal["text", "integer", "number", "choice", "texts", "objects"]

WELL_FORMED: Json = {"models": [], "experiment_ids": ["0"], "status": "LOGGED_MODEL_READY"}
MODEL_JSON = '{"artifact_path": "model", "flavors": {}, "utc_time_created": "2026-01-01 00:00:00", "run_id": "r"}'


@dataclass(frozen=True, kw_only=True)
class World:
    """What the example calls act on."""

    experiment_id: str
    experiment_name: str
    deleted_experiment_id: str
    run_id: str
    model_id: str
    registered_model: str
    """With a version 1, which the alias `champion` points at."""


@dataclass(frozen=True, kw_only=True)
class Route:
    method: str
    path: str
    """As in mlflow_rest_3_18.csv."""
    required: tuple[str, ...] = ()
    """In the order in which the server looks for them."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    example: Callable[[World], Json] = lambda world: {}

    @property
    def name(self) -> str:
        return f"{self.method} {self.path.removeprefix('/api/2.0/mlflow/').removeprefix('/ajax-api/2.0/mlflow/')}"

    def filled(self, model_id: str = "x") -> str:
        """The path with its variables filled in."""
        return self.path.replace("{model_id}", model_id).replace("{tag_key}", "tag")

    def well_formed(self) -> Json:
        """A body with all that is required, of the right form; what it names need not exist."""
        in_path = {"model_id": "1"} if "{model_id}" in self.path else {}
        return in_path | {name: WELL_FORMED.get(name, "1") for name in self.required}


def new_world(rest: Rest) -> World:
    name = factories.unique()
    experiment_id = factories.new_experiment(rest, name=name)
    return World(
        experiment_id=experiment_id,
        experiment_name=name,
        deleted_experiment_id=factories.deleted_experiment(rest),
        run_id=factories.new_run(rest, experiment_id, tags=[{"key": "tag", "value": "1"}]),
        model_id=factories.new_model(rest, experiment_id, tags=[{"key": "tag", "value": "1"}]),
        registered_model=_new_registered_model(rest),
    )


def _new_registered_model(rest: Rest) -> str:
    name = factories.new_registered_model(rest)
    factories.new_version(rest, name)
    factories.set_alias(rest, name, "champion", "1")
    return name


def _experiment(world: World) -> Json:
    return {"experiment_id": world.experiment_id}


def _run(world: World) -> Json:
    return {"run_id": world.run_id}


def _registered_model(world: World) -> Json:
    return {"name": world.registered_model}


def _version(world: World) -> Json:
    return {"name": world.registered_model, "version": "1"}


EXPERIMENTS = (
    Route(
        method="POST",
        path="/api/2.0/mlflow/experiments/create",
        required=("name",),
        kinds={"name": "text", "artifact_location": "text", "tags": "objects"},
        example=lambda world: {"name": factories.unique()},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/experiments/delete",
        required=("experiment_id",),
        kinds={"experiment_id": "text"},
        example=_experiment,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/experiments/delete-experiment-tag",
        required=("experiment_id", "key"),
        kinds={"experiment_id": "text", "key": "text"},
        example=lambda world: {"experiment_id": world.experiment_id, "key": "group"},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/experiments/get",
        required=("experiment_id",),
        example=_experiment,
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/experiments/get-by-name",
        required=("experiment_name",),
        example=lambda world: {"experiment_name": world.experiment_name},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/experiments/restore",
        required=("experiment_id",),
        kinds={"experiment_id": "text"},
        example=lambda world: {"experiment_id": world.deleted_experiment_id},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/experiments/search",
        example=lambda world: {"max_results": 1},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/experiments/search",
        kinds={
            "view_type": "choice",
            "max_results": "integer",
            "order_by": "texts",
            "filter": "text",
            "page_token": "text",
        },
        example=lambda world: {"max_results": 1},
    ),
    Route(
        method="POST",
        path="/ajax-api/2.0/mlflow/experiments/search-datasets",
        kinds={"experiment_ids": "texts"},
        example=lambda world: {"experiment_ids": [world.experiment_id]},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/experiments/set-experiment-tag",
        required=("experiment_id", "key"),
        kinds={"experiment_id": "text", "key": "text", "value": "text"},
        example=lambda world: {"experiment_id": world.experiment_id, "key": "group", "value": "1"},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/experiments/update",
        required=("experiment_id", "new_name"),
        kinds={"experiment_id": "text", "new_name": "text"},
        example=lambda world: {"experiment_id": world.experiment_id, "new_name": factories.unique()},
    ),
)

RUNS = (
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/create",
        kinds={
            "experiment_id": "text",
            "user_id": "text",
            "run_name": "text",
            "start_time": "integer",
            "tags": "objects",
        },
        example=_experiment,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/delete",
        required=("run_id",),
        kinds={"run_id": "text"},
        example=_run,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/delete-tag",
        required=("run_id", "key"),
        kinds={"run_id": "text", "key": "text"},
        example=lambda world: {"run_id": world.run_id, "key": "tag"},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/runs/get",
        required=("run_id",),
        example=_run,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/log-batch",
        required=("run_id",),
        kinds={"run_id": "text", "metrics": "objects", "params": "objects", "tags": "objects"},
        example=_run,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/log-inputs",
        required=("run_id",),
        kinds={"run_id": "text", "datasets": "objects", "models": "objects"},
        example=lambda world: {"run_id": world.run_id, "datasets": [factories.dataset_input()]},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/log-metric",
        required=("run_id", "key", "value", "timestamp"),
        kinds={
            "run_id": "text",
            "key": "text",
            "value": "number",
            "timestamp": "integer",
            "step": "integer",
            "model_id": "text",
            "dataset_name": "text",
            "dataset_digest": "text",
        },
        example=lambda world: {"run_id": world.run_id, "key": "m", "value": 1, "timestamp": 1},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/log-model",
        required=("run_id", "model_json"),
        kinds={"run_id": "text", "model_json": "text"},
        example=lambda world: {"run_id": world.run_id, "model_json": MODEL_JSON},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/log-parameter",
        required=("run_id", "key"),
        kinds={"run_id": "text", "key": "text", "value": "text"},
        example=lambda world: {"run_id": world.run_id, "key": "p", "value": "1"},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/outputs",
        required=("run_id", "models"),
        kinds={"run_id": "text", "models": "objects"},
        example=lambda world: {"run_id": world.run_id, "models": [{"model_id": world.model_id, "step": 1}]},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/restore",
        required=("run_id",),
        kinds={"run_id": "text"},
        example=_run,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/search",
        kinds={
            "experiment_ids": "texts",
            "filter": "text",
            "run_view_type": "choice",
            "max_results": "integer",
            "order_by": "texts",
            "page_token": "text",
        },
        example=lambda world: {"experiment_ids": [world.experiment_id]},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/set-tag",
        required=("run_id", "key"),
        kinds={"run_id": "text", "key": "text", "value": "text"},
        example=lambda world: {"run_id": world.run_id, "key": "t", "value": "1"},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/runs/update",
        required=("run_id",),
        kinds={"run_id": "text", "status": "choice", "end_time": "integer", "run_name": "text"},
        example=lambda world: {"run_id": world.run_id, "status": "FINISHED"},
    ),
)

METRICS = (
    Route(
        method="GET",
        path="/api/2.0/mlflow/metrics/get-history",
        required=("run_id", "metric_key"),
        example=lambda world: {"run_id": world.run_id, "metric_key": "m"},
    ),
    Route(
        method="GET",
        path="/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        example=lambda world: {"run_id": world.run_id, "metric_key": "m"},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/metrics/get-history-bulk-interval",
        required=("run_ids", "metric_key"),
        example=lambda world: {"run_ids": world.run_id, "metric_key": "m"},
    ),
)

LOGGED_MODELS = (
    Route(
        method="POST",
        path="/api/2.0/mlflow/logged-models",
        required=("experiment_id",),
        kinds={
            "experiment_id": "text",
            "name": "text",
            "model_type": "text",
            "source_run_id": "text",
            "params": "objects",
            "tags": "objects",
        },
        example=_experiment,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/logged-models/search",
        required=("experiment_ids",),
        kinds={
            "experiment_ids": "texts",
            "filter": "text",
            "datasets": "objects",
            "max_results": "integer",
            "order_by": "objects",
            "page_token": "text",
        },
        example=lambda world: {"experiment_ids": [world.experiment_id]},
    ),
    Route(method="GET", path="/api/2.0/mlflow/logged-models/{model_id}"),
    Route(
        method="PATCH",
        path="/api/2.0/mlflow/logged-models/{model_id}",
        required=("status",),
        kinds={"status": "choice"},
        example=lambda world: {"model_id": world.model_id, "status": "LOGGED_MODEL_READY"},
    ),
    Route(method="DELETE", path="/api/2.0/mlflow/logged-models/{model_id}"),
    Route(
        method="POST",
        path="/api/2.0/mlflow/logged-models/{model_id}/params",
        kinds={"params": "objects"},
        example=lambda world: {"model_id": world.model_id, "params": [{"key": "p", "value": "1"}]},
    ),
    Route(
        method="PATCH",
        path="/api/2.0/mlflow/logged-models/{model_id}/tags",
        kinds={"tags": "objects"},
        example=lambda world: {"tags": [{"key": "t", "value": "1"}]},
    ),
    Route(method="DELETE", path="/api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key}"),
)

REGISTERED_MODELS = (
    Route(
        method="POST",
        path="/api/2.0/mlflow/registered-models/create",
        required=("name",),
        kinds={"name": "text", "tags": "objects", "description": "text"},
        example=lambda world: {"name": factories.unique()},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/registered-models/get",
        required=("name",),
        example=_registered_model,
    ),
    Route(
        method="PATCH",
        path="/api/2.0/mlflow/registered-models/update",
        required=("name",),
        kinds={"name": "text", "description": "text"},
        example=_registered_model,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/registered-models/rename",
        required=(
            "name",
            "new_name",
        ),
        kinds={"name": "text", "new_name": "text"},
        example=lambda world: {"name": world.registered_model, "new_name": factories.unique()},
    ),
    Route(
        method="DELETE",
        path="/api/2.0/mlflow/registered-models/delete",
        required=("name",),
        kinds={"name": "text"},
        example=_registered_model,
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/registered-models/search",
        example=lambda world: {"max_results": 1},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/registered-models/get-latest-versions",
        required=("name",),
        example=_registered_model,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/registered-models/get-latest-versions",
        required=("name",),
        kinds={"name": "text", "stages": "texts"},
        example=_registered_model,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/registered-models/set-tag",
        required=(
            "name",
            "key",
        ),
        kinds={"name": "text", "key": "text", "value": "text"},
        example=lambda world: {"name": world.registered_model, "key": "t", "value": "1"},
    ),
    Route(
        method="DELETE",
        path="/api/2.0/mlflow/registered-models/delete-tag",
        required=(
            "name",
            "key",
        ),
        kinds={"name": "text", "key": "text"},
        example=lambda world: {"name": world.registered_model, "key": "t"},
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/registered-models/alias",
        required=(
            "name",
            "alias",
            "version",
        ),
        kinds={"name": "text", "alias": "text", "version": "text"},
        example=lambda world: {"name": world.registered_model, "alias": "a", "version": "1"},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/registered-models/alias",
        required=(
            "name",
            "alias",
        ),
        example=lambda world: {"name": world.registered_model, "alias": "champion"},
    ),
    Route(
        method="DELETE",
        path="/api/2.0/mlflow/registered-models/alias",
        required=(
            "name",
            "alias",
        ),
        kinds={"name": "text", "alias": "text"},
        example=lambda world: {"name": world.registered_model, "alias": "champion"},
    ),
)

MODEL_VERSIONS = (
    Route(
        method="POST",
        path="/api/2.0/mlflow/model-versions/create",
        required=(
            "name",
            "source",
        ),
        kinds={
            "name": "text",
            "source": "text",
            "run_id": "text",
            "tags": "objects",
            "run_link": "text",
            "description": "text",
            "model_id": "text",
        },
        example=lambda world: {"name": world.registered_model, "source": factories.SOURCE},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/model-versions/get",
        required=(
            "name",
            "version",
        ),
        example=_version,
    ),
    Route(
        method="PATCH",
        path="/api/2.0/mlflow/model-versions/update",
        required=(
            "name",
            "version",
        ),
        kinds={"name": "text", "version": "text", "description": "text"},
        example=_version,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/model-versions/transition-stage",
        required=(
            "name",
            "version",
            "stage",
        ),
        kinds={"name": "text", "version": "text", "stage": "text"},
        example=lambda world: {**_version(world), "stage": "Staging"},
    ),
    Route(
        method="DELETE",
        path="/api/2.0/mlflow/model-versions/delete",
        required=(
            "name",
            "version",
        ),
        kinds={"name": "text", "version": "text"},
        example=_version,
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/model-versions/search",
        example=lambda world: {"max_results": 1},
    ),
    Route(
        method="GET",
        path="/api/2.0/mlflow/model-versions/get-download-uri",
        example=_version,
    ),
    Route(
        method="POST",
        path="/api/2.0/mlflow/model-versions/set-tag",
        required=(
            "name",
            "version",
            "key",
        ),
        kinds={"name": "text", "version": "text", "key": "text", "value": "text"},
        example=lambda world: {**_version(world), "key": "t", "value": "1"},
    ),
    Route(
        method="DELETE",
        path="/api/2.0/mlflow/model-versions/delete-tag",
        required=(
            "name",
            "version",
            "key",
        ),
        kinds={"name": "text", "version": "text", "key": "text"},
        example=lambda world: {**_version(world), "key": "t"},
    ),
)

SERVER = (
    Route(method="GET", path="/api/3.0/mlflow/server-info"),
    Route(method="GET", path="/health"),
    Route(method="GET", path="/version"),
)

TRACKING = EXPERIMENTS + RUNS + METRICS + LOGGED_MODELS
REGISTRY = REGISTERED_MODELS + MODEL_VERSIONS
API = TRACKING + REGISTRY
ALL = API + SERVER
