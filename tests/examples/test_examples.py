"""Each example, run as a user runs it, against the platform; what counts is what the server holds afterwards.

MODELSTEAD_TEST_URL=http://127.0.0.1:5050 takes another server than this checkout's, as in tests/compat.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, LoggedModelStatus, Run

EXAMPLES = Path(__file__).parents[2] / "examples"
CANDIDATES = 4
TIMEOUT_S = 500
# MLflow's advice for whoever loads models of others.
PICKLE = "pickle or cloudpickle format"

# The platform's start and an example's run are both in the first test's time.
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an example left behind: its output, the one run without a parent, and the runs nested in that."""

    stdout: str
    stderr: str
    parent: Run
    nested: Sequence[Run]


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> str:
    given = os.environ.get("MODELSTEAD_TEST_URL")
    return given or str(request.getfixturevalue("stack").url)


@pytest.fixture(scope="module")
def client(url: str) -> MlflowClient:
    return MlflowClient(tracking_uri=url, registry_uri=url)


@pytest.fixture(scope="module")
def training(url: str, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome of the scikit-learn example, in an experiment of its own."""
    return succeed(client, url, tmp_path_factory.mktemp("training"), sys.executable, EXAMPLES / "sklearn_autolog.py")


@pytest.fixture(scope="module")
def rest(url: str, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome of the REST example, likewise."""
    return succeed(client, url, tmp_path_factory.mktemp("rest"), "sh", EXAMPLES / "rest.sh")


def succeed(client: MlflowClient, url: str, folder: Path, *command: str | Path) -> Outcome:
    """Run an example that must end well."""
    experiment = f"example-{uuid.uuid4().hex}"
    done = run(url, folder, experiment, *command)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(nested) == len(runs) - 1
    # Inputs are fully there only when a run is asked for by its id.
    parent = client.get_run(parent.info.run_id)
    return Outcome(stdout=done.stdout, stderr=done.stderr, parent=parent, nested=nested)


def run(url: str, folder: Path, experiment: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty folder that also takes its temporary files, and capture what it prints."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environ |= {"MLFLOW_TRACKING_URI": url, "MLFLOW_EXPERIMENT_NAME": experiment}
    environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "TMPDIR": str(folder)}
    # MLflow warns when a process of its own, which imports all that a model needs, takes longer than two minutes.
    environ["MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT"] = str(TIMEOUT_S)
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_training_logs_the_search_with_its_parameters_scores_and_tags(training: Outcome) -> None:
    run = training.parent

    assert run.info.status == "FINISHED"
    assert run.info.run_name == "forest search"
    assert run.data.params["cv"] == "3"
    assert run.data.params["best_max_depth"] in {"3", "6"}
    assert run.data.metrics.keys() >= {"best_cv_score", "training_r2_score", "training_score", "holdout_r2"}
    assert 0.0 < run.data.metrics["holdout_r2"] < 1.0
    assert run.data.tags["model"] == "random forest"
    assert run.data.tags["estimator_name"] == "GridSearchCV"


def test_training_nests_one_run_for_each_candidate(training: Outcome) -> None:
    candidates = {(run.data.params["n_estimators"], run.data.params["max_depth"]) for run in training.nested}

    assert candidates == {("20", "3"), ("20", "6"), ("60", "3"), ("60", "6")}
    assert len(training.nested) == CANDIDATES
    assert {run.info.status for run in training.nested} == {"FINISHED"}
    best = max(run.data.metrics["mean_test_score"] for run in training.nested)
    assert best == training.parent.data.metrics["best_cv_score"]


def test_training_names_its_data_set_as_input(training: Outcome) -> None:
    inputs = training.parent.inputs

    assert inputs is not None
    [data] = [given for given in inputs.dataset_inputs if tags(given) == {"mlflow.data.context": "train"}]
    assert data.dataset.name == "dataset"
    assert "331" in (data.dataset.profile or "")
    assert "bmi" in (data.dataset.schema or "")


def test_training_prints_the_best_candidate_and_where_it_is(training: Outcome, url: str) -> None:
    best = max(training.nested, key=lambda run: run.data.metrics["mean_test_score"])

    assert f"Best of the search: {best.info.run_name}, " in training.stdout
    assert f"{url}/api/2.0/mlflow/runs/get?run_id={best.info.run_id}" in training.stdout


def test_training_logs_its_model_which_predicts_the_same_when_loaded_back(
    training: Outcome, client: MlflowClient
) -> None:
    assert training.parent.outputs is not None
    logged = [client.get_logged_model(output.model_id) for output in training.parent.outputs.model_outputs]

    assert {model.status for model in logged} == {LoggedModelStatus.READY}
    files = {file.path for model in logged for file in client.list_logged_model_artifacts(model.model_id)}
    assert {"MLmodel", "model.pkl"} <= files
    [line] = [line for line in training.stdout.splitlines() if line.startswith("Loaded back: ")]
    assert line.endswith(" predicts the same for 111 rows.")
    assert any(model.model_uri in line for model in logged)


def test_training_keeps_its_artifacts_on_the_server(training: Outcome, client: MlflowClient) -> None:
    files = {file.path for file in client.list_artifacts(training.parent.info.run_id)}

    assert training.parent.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert "estimator.html" in files


def test_training_meets_nothing_that_it_has_to_warn_of(training: Outcome) -> None:
    warnings = [line for line in training.stderr.splitlines() if "WARNING" in line and PICKLE not in line]

    assert warnings == []
    assert "Traceback" not in training.stderr


def test_rest_example_logs_two_runs_nested_in_a_third(rest: Outcome) -> None:
    assert rest.parent.info.run_name == "search"
    assert rest.parent.data.params == {"folds": "3"}
    assert rest.parent.data.metrics == {"best_r2": 0.52}
    assert {(run.info.run_name, run.data.params["alpha"], run.data.metrics["r2"]) for run in rest.nested} == {
        ("alpha-0.1", "0.1", 0.47),
        ("alpha-1.0", "1.0", 0.52),
    }
    assert {run.info.status for run in [rest.parent, *rest.nested]} == {"FINISHED"}
    assert {(run.data.tags["model"], run.data.tags["stage"]) for run in rest.nested} == {("ridge", "candidate")}


def test_rest_example_logs_every_point_of_a_batch(rest: Outcome, client: MlflowClient) -> None:
    points = client.get_metric_history(rest.nested[0].info.run_id, "loss")

    assert [(point.step, point.value) for point in points] == [(0, 0.9), (1, 0.4)]


def test_rest_example_prints_the_best_run_and_where_it_is(rest: Outcome, url: str) -> None:
    [best] = [run for run in rest.nested if run.info.run_name == "alpha-1.0"]

    assert rest.stdout.splitlines()[0].endswith(": alpha-1.0")
    assert f"{url}/api/2.0/mlflow/runs/get?run_id={best.info.run_id}" in rest.stdout


def test_rest_example_stops_at_an_error_and_shows_it(
    rest: Outcome, url: str, client: MlflowClient, tmp_path: Path
) -> None:
    taken = client.get_experiment(rest.parent.info.experiment_id).name

    done = run(url, tmp_path, taken, "sh", EXAMPLES / "rest.sh")

    assert done.returncode != 0
    assert "RESOURCE_ALREADY_EXISTS" in done.stderr
    assert done.stdout == ""


def tags(given: DatasetInput) -> dict[str, str]:
    """Return the tags of a dataset input by key."""
    return {tag.key: tag.value for tag in given.tags}
