"""Train a scikit-learn model and have MLflow log the whole search: the run itself, and one nested run a candidate.

    pip install mlflow-skinny scikit-learn pandas
    export MLFLOW_TRACKING_URI=http://127.0.0.1:8080
    python examples/sklearn_autolog.py

Another experiment: MLFLOW_EXPERIMENT_NAME=my-experiment.
"""

import os
import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import Run
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV, train_test_split

GRID = {"n_estimators": [20, 60], "max_depth": [3, 6]}


def main() -> None:
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:8080"))
    mlflow.set_experiment(experiment_id=find_or_create(os.environ.get("MLFLOW_EXPERIMENT_NAME", "diabetes")))
    # Models are files, and files need an artifact store: see below.
    mlflow.autolog(log_models=False)

    x, y = load_diabetes(return_X_y=True, as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
    search = GridSearchCV(RandomForestRegressor(random_state=0), GRID, cv=3)

    # Autologging adds the rest: parameters, scores, the data set, and the nested runs.
    with mlflow.start_run(run_name="forest search", tags={"model": "random forest"}) as run:
        search.fit(x_train, y_train)
        mlflow.log_metric("holdout_r2", search.score(x_test, y_test))

    show(best_candidate(run))


def find_or_create(name: str) -> str:
    """Return the id of the experiment `name`.

    Modelstead does not store artifacts yet, and autologging writes a few small ones even without models; it gives up on
    what comes after the first that fails, nested runs among it. So they go to a folder of this machine. With an
    artifact store `mlflow.set_experiment(name)` does all of this.
    """
    if experiment := mlflow.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    artifacts = Path(tempfile.gettempdir()) / "mlflow-artifacts"
    return str(mlflow.create_experiment(name, artifact_location=artifacts.as_uri()))


def best_candidate(parent: Run) -> Run:
    """Return the nested run of `parent` that did best in the cross-validation."""
    [best] = mlflow.search_runs(
        experiment_ids=[parent.info.experiment_id],
        filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
        order_by=["metrics.mean_test_score DESC"],
        max_results=1,
        output_format="list",
    )
    return best


def show(run: Run) -> None:
    chosen = ", ".join(f"{name}={run.data.params[name]}" for name in GRID)
    print(f"Best of the search: {run.info.run_name}, {chosen}, R² {run.data.metrics['mean_test_score']:.3f}")
    print(f"All about it: {mlflow.get_tracking_uri()}/api/2.0/mlflow/runs/get?run_id={run.info.run_id}")


if __name__ == "__main__":
    main()
