"""The unmodified fluent API, as training scripts use it: `mlflow.start_run`, `mlflow.log_metrics` and the rest."""

import math
from collections.abc import Iterator

import mlflow
import pandas
import pytest
from mlflow.data.pandas_dataset import from_pandas
from mlflow.exceptions import MlflowException

from tests.compat import factories


@pytest.fixture(autouse=True)
def experiment(fluent: None) -> Iterator[str]:
    """A new experiment, active for one test."""
    yield mlflow.set_experiment(factories.unique()).experiment_id
    while mlflow.active_run():
        mlflow.end_run()


def test_a_run_ends_finished(experiment: str) -> None:
    with mlflow.start_run(run_name="training", tags={"team": "a"}, description="a note") as run:
        running = mlflow.get_run(run.info.run_id)

    finished = mlflow.get_run(run.info.run_id)
    assert (running.info.status, running.info.experiment_id) == ("RUNNING", experiment)
    assert (finished.info.status, finished.info.run_name) == ("FINISHED", "training")
    assert finished.info.end_time >= finished.info.start_time
    assert (finished.data.tags["team"], finished.data.tags["mlflow.note.content"]) == ("a", "a note")
    assert finished.data.tags["mlflow.source.type"] == "LOCAL"


def test_a_run_that_raises_ends_failed() -> None:
    def train() -> None:
        with mlflow.start_run():
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        train()

    last = mlflow.last_active_run()
    assert last is not None
    assert last.info.status == "FAILED"


def test_a_run_can_be_resumed() -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("a", 1)
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_param("b", 2)

    resumed = mlflow.get_run(run.info.run_id)
    assert (resumed.data.params, resumed.info.status) == ({"a": "1", "b": "2"}, "FINISHED")


def test_a_deleted_run_cannot_be_resumed() -> None:
    with mlflow.start_run() as run:
        pass
    mlflow.delete_run(run.info.run_id)

    with pytest.raises(MlflowException, match="because it is in the deleted state"):
        mlflow.start_run(run_id=run.info.run_id)


def test_runs_nest(experiment: str) -> None:
    with mlflow.start_run() as parent:
        children = []
        for depth in range(3):
            with mlflow.start_run(nested=True) as child:
                mlflow.log_param("depth", depth)
                children.append(child.info.run_id)

    found = mlflow.search_runs(
        [experiment],
        filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
        order_by=["params.depth"],
        output_format="list",
    )
    assert [run.info.run_id for run in found] == children
    first_parent = mlflow.get_parent_run(children[0])
    assert first_parent is not None
    assert first_parent.info.run_id == parent.info.run_id


def test_everything_is_logged() -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("one", 1)
        mlflow.log_params({"two": 2, "text": "x y", "none": None, "list": [1, 2]})
        mlflow.log_metric("loss", 0.5, step=1)
        mlflow.log_metric("loss", 0.25, step=2)
        mlflow.log_metrics({"acc": 0.9, "nan": math.nan}, step=2)
        mlflow.set_tag("t", "1")
        mlflow.set_tags({"u": 2, "gone": 3})
        mlflow.delete_tag("gone")

    data = mlflow.get_run(run.info.run_id).data
    assert data.params == {"one": "1", "two": "2", "text": "x y", "none": "None", "list": "[1, 2]"}
    assert (data.metrics["loss"], data.metrics["acc"]) == (0.25, 0.9)
    assert math.isnan(data.metrics["nan"])
    assert (data.tags["t"], data.tags["u"], "gone" in data.tags) == ("1", "2", False)


def test_more_params_than_a_batch_holds_are_logged() -> None:
    params = {f"p{number}": str(number) for number in range(250)}

    with mlflow.start_run() as run:
        mlflow.log_params(params)

    assert mlflow.get_run(run.info.run_id).data.params == params


def test_long_values_are_cut_by_the_server() -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("p", "v" * 6001)
        mlflow.set_tag("t", "v" * 8001)

    data = mlflow.get_run(run.info.run_id).data
    assert (len(data.params["p"]), len(data.tags["t"])) == (6000, 8000)


def test_asynchronous_logging_arrives() -> None:
    with mlflow.start_run() as run:
        for step in range(50):
            mlflow.log_metric("m", step, step=step, synchronous=False)
        mlflow.log_params({"p": 1}, synchronous=False)
        mlflow.set_tags({"t": 1}, synchronous=False)
        mlflow.flush_async_logging()

    data = mlflow.get_run(run.info.run_id).data
    assert (data.metrics, data.params, data.tags["t"]) == ({"m": 49.0}, {"p": "1"}, "1")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "m")
    assert [metric.step for metric in history] == list(range(50))


def test_a_dataset_is_logged() -> None:
    dataset = from_pandas(pandas.DataFrame({"a": [1.5]}), name="frame", digest="d1")

    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training", tags={"split": "first"})

    inputs = mlflow.get_run(run.info.run_id).inputs
    assert inputs is not None
    logged = inputs.dataset_inputs[0]
    assert (logged.dataset.name, logged.dataset.digest, logged.dataset.source_type) == ("frame", "d1", "code")
    assert {tag.key: tag.value for tag in logged.tags} == {"mlflow.data.context": "training", "split": "first"}


def test_search_runs_makes_a_frame(experiment: str) -> None:
    for number in range(3):
        with mlflow.start_run(run_name=f"run{number}"):
            mlflow.log_param("p", number)
            mlflow.log_metric("m", number / 2)
    with mlflow.start_run(run_name="bare"):
        pass

    frame = mlflow.search_runs([experiment], order_by=["metrics.m DESC"])

    assert list(frame["tags.mlflow.runName"]) == ["run2", "run1", "run0", "bare"]
    assert list(frame["params.p"])[:3] == ["2", "1", "0"]
    assert list(frame["metrics.m"])[:3] == [1.0, 0.5, 0.0]
    assert frame.isna()["metrics.m"].sum() == 1


def test_search_runs_reads_every_page(experiment: str) -> None:
    client = mlflow.MlflowClient()
    ids = {client.create_run(experiment).info.run_id for _ in range(12)}

    found = mlflow.search_runs([experiment], max_results=11, output_format="list")

    assert len({run.info.run_id for run in found} & ids) == 11


def test_search_runs_finds_an_experiment_by_name(experiment: str) -> None:
    with mlflow.start_run() as run:
        pass

    found = mlflow.search_runs(
        experiment_names=[mlflow.get_experiment(experiment).name, "no such experiment"], output_format="list"
    )

    assert [entry.info.run_id for entry in found] == [run.info.run_id]


def test_set_experiment_makes_it_once() -> None:
    name = factories.unique()

    first, second = mlflow.set_experiment(name), mlflow.set_experiment(name)

    assert first.experiment_id == second.experiment_id
    assert [entry.name for entry in mlflow.search_experiments(filter_string=f"name = '{name}'")] == [name]


def test_a_deleted_experiment_cannot_be_set(experiment: str) -> None:
    name = mlflow.get_experiment(experiment).name
    mlflow.delete_experiment(experiment)

    with pytest.raises(MlflowException, match="Cannot set a deleted experiment"):
        mlflow.set_experiment(name)


def test_experiment_tags_are_set(experiment: str) -> None:
    mlflow.set_experiment_tag("a", 1)
    mlflow.set_experiment_tags({"b": 2, "c": 3})
    mlflow.delete_experiment_tag("c")

    assert mlflow.get_experiment(experiment).tags == {"a": "1", "b": "2"}


def test_a_model_is_logged_with_its_metrics(experiment: str) -> None:
    dataset = from_pandas(pandas.DataFrame({"a": [1.5]}), name="frame", digest="d1")
    with mlflow.start_run() as run:
        model = mlflow.initialize_logged_model(name="model", params={"p": "1"}, tags={"t": "2"})
        mlflow.log_metric("acc", 0.9, step=4, dataset=dataset, model_id=model.model_id)
        mlflow.log_model_params({"q": "3"}, model.model_id)
        mlflow.finalize_logged_model(model.model_id, "READY")

    read = mlflow.get_logged_model(model.model_id)
    assert (read.name, read.status, read.source_run_id) == ("model", "READY", run.info.run_id)
    assert (read.params, read.tags["t"]) == ({"p": "1", "q": "3"}, "2")
    assert read.metrics is not None
    assert [(metric.value, metric.step, metric.dataset_digest) for metric in read.metrics] == [(0.9, 4, "d1")]


def test_search_logged_models_reads_every_page(experiment: str) -> None:
    client = mlflow.MlflowClient()
    ids = {client.create_logged_model(experiment).model_id for _ in range(53)}

    found = mlflow.search_logged_models([experiment], output_format="list")

    assert {model.model_id for model in found} == ids


def test_an_active_model_collects_metrics() -> None:
    with mlflow.start_run() as run:
        model = mlflow.initialize_logged_model(name="model")
        with mlflow.set_active_model(model_id=model.model_id):
            mlflow.log_metric("acc", 0.5)

    read = mlflow.get_logged_model(model.model_id)
    assert read.metrics is not None
    assert [(metric.key, metric.run_id) for metric in read.metrics] == [("acc", run.info.run_id)]
