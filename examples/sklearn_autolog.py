"""Train a scikit-learn model and have MLflow log the whole search: the run itself, one nested run a candidate, and the
model, which is then loaded back from the server.

    pip install mlflow-skinny scikit-learn pandas
    export MLFLOW_TRACKING_URI=http://127.0.0.1:8080
    python examples/sklearn_autolog.py

Another experiment: MLFLOW_EXPERIMENT_NAME=my-experiment.
"""

import os

import mlflow
import pandas
from mlflow.entities import Run
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV, train_test_split

GRID = {"n_estimators": [20, 60], "max_depth": [3, 6]}


def main() -> None:
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:8080"))
    mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "diabetes"))
    mlflow.autolog()

    x, y = load_diabetes(return_X_y=True, as_frame=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
    search = GridSearchCV(RandomForestRegressor(random_state=0), GRID, cv=3)

    # Autologging adds the rest: parameters, scores, the data set, the nested runs, and the model itself.
    with mlflow.start_run(run_name="forest search", tags={"model": "random forest"}) as run:
        search.fit(x_train, y_train)
        mlflow.log_metric("holdout_r2", search.score(x_test, y_test))

    show(best_candidate(run))
    load_back(search, x_test)


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


def load_back(search: GridSearchCV, x: pandas.DataFrame) -> None:
    """Load the model that was logged last, from the server, and have it predict what the trained one does."""
    logged = mlflow.last_logged_model()
    assert logged is not None
    loaded = mlflow.sklearn.load_model(logged.model_uri)
    is_same = (loaded.predict(x) == search.predict(x)).all()
    print(f"Loaded back: {logged.model_uri} {'predicts the same' if is_same else 'DIFFERS'} for {len(x)} rows.")


if __name__ == "__main__":
    main()
