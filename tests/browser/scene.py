"""What the pages show: runs, files, models and versions, logged with MLflow's own client as people log them."""

import base64
import json
import math
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Metric, Param, RunTag
from sklearn.linear_model import LogisticRegression

RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
STEPS = 60
_TIMEOUT_S = 300
# An artifact that would show itself if it were ever run in a page of ours.
HOSTILE_PAGE = "<h1>report</h1><script>document.title = 'script ran'; fetch('/api/2.0/mlflow/stolen')</script>"

# 32 × 32 pixels of one blue.
_SQUARE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKklEQVR42mPQqDhBU8QwasGoBaMWjFowasGoBaMWjFowasGoBaMWDBULAIuXoExJIezsAAAAAElFTkSuQmCC"
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Names and ids; `runs` are in the order of RATES, the last one failed."""

    experiment_id: str
    experiment_name: str
    runs: tuple[str, ...]
    logged_model_id: str
    model_name: str


def log_scene(url: str) -> Scene:
    """Log it all to the server at `url`, in a process of its own.

    MLflow's client keeps what is active in globals, which other tests have set.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_log_scene, url).result(timeout=_TIMEOUT_S)


def _log_scene(url: str) -> Scene:
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    name = "churn baseline"
    experiment_id = client.create_experiment(name, tags={"mlflow.note.content": "Which **rate** is best?"})
    runs = tuple(_log_run(client, experiment_id, rate) for rate in RATES)
    model_name = "churn"
    return Scene(
        experiment_id=experiment_id,
        experiment_name=name,
        runs=runs,
        logged_model_id=_register(client, url, runs[1], model_name),
        model_name=model_name,
    )


def _log_run(client: MlflowClient, experiment_id: str, rate: float) -> str:
    run_id = client.create_run(experiment_id, run_name=f"rate-{rate}", tags={"team": "growth"}).info.run_id
    params = [Param("learning_rate", str(rate)), Param("optimizer", "adam" if rate < 0.05 else "sgd")]
    client.log_batch(run_id, metrics=list(_curves(rate)), params=params, tags=[RunTag("host", "node-1")])
    # What does not converge ends in a value that JSON has no number for.
    client.log_metric(run_id, "final_loss", math.nan if rate == RATES[-1] else math.exp(-rate * 30), step=STEPS)
    _log_files(client, run_id)
    client.set_terminated(run_id, "FAILED" if rate == RATES[-1] else "FINISHED")
    return run_id


def _curves(rate: float) -> Iterator[Metric]:
    began_ms = 1_700_000_000_000
    for step in range(STEPS):
        at = began_ms + step * 1000
        yield Metric("loss", math.exp(-rate * step) + 0.02 * math.sin(step), at, step)
        yield Metric("accuracy", 1 - 0.5 * math.exp(-rate * step), at, step)


def _log_files(client: MlflowClient, run_id: str) -> None:
    client.log_text(run_id, "epoch 1\nepoch 2\n", "train.log")
    client.log_text(run_id, HOSTILE_PAGE, "reports/report.html")
    client.log_dict(run_id, {"layers": [64, 32]}, "config.json")
    client.log_text(run_id, "name,score\na,1\nb,2\n", "reports/scores.csv")
    with tempfile.TemporaryDirectory() as folder:
        square = Path(folder, "square.png")
        square.write_bytes(_SQUARE)
        client.log_artifact(run_id, str(square), "plots")


def _register(client: MlflowClient, url: str, run_id: str, model_name: str) -> str:
    """Log a model to a run and register two versions of it; return the id of the logged model."""
    x, y = pandas.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]}), [0, 0, 1, 1]
    mlflow.set_tracking_uri(url)
    mlflow.set_registry_uri(url)
    with mlflow.start_run(run_id=run_id):
        mlflow.log_input(from_pandas(x, name="customers", digest="5eed"), context="training")
        logged = mlflow.sklearn.log_model(
            LogisticRegression().fit(x, y),
            name="classifier",
            input_example=x,
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
            registered_model_name=model_name,
        )
    second = client.create_model_version(
        model_name, logged.model_uri, run_id, description="The second.", model_id=logged.model_id
    )
    client.update_registered_model(model_name, "Who is about to leave.")
    client.set_registered_model_tag(model_name, "owner", "growth")
    client.set_registered_model_alias(model_name, "champion", second.version)
    assert json.loads(Path(client.download_artifacts(run_id, "config.json")).read_text()) == {"layers": [64, 32]}
    return str(logged.model_id)
