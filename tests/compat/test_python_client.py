"""The unmodified `MlflowClient`: every tracking method, and the exceptions it raises from refusals."""

import math
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException

from tests.compat import factories, texts

LARGEST = 1.7976931348623157e308


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    return str(client.create_experiment(factories.unique()))


@pytest.fixture
def run(client: MlflowClient, experiment: str) -> str:
    return str(client.create_run(experiment).info.run_id)


@pytest.fixture
def model(client: MlflowClient, experiment: str) -> str:
    return str(client.create_logged_model(experiment, name="model").model_id)


def refused(code: str, message: str) -> tuple[str, str]:
    return code, f"{code}: {message}"


def as_refused(raised: pytest.ExceptionInfo[MlflowException]) -> tuple[str, str]:
    return raised.value.error_code, raised.value.message


def test_an_experiment_is_created_and_read(client: MlflowClient) -> None:
    name = factories.unique()

    experiment_id = client.create_experiment(name, artifact_location="s3://bucket/path", tags={"a": "1"})

    experiment = client.get_experiment(experiment_id)
    assert (experiment.name, experiment.artifact_location) == (name, "s3://bucket/path")
    assert (experiment.tags, experiment.lifecycle_stage) == ({"a": "1"}, "active")
    assert experiment.creation_time == experiment.last_update_time


def test_an_experiment_is_found_by_its_name(client: MlflowClient, experiment: str) -> None:
    name = client.get_experiment(experiment).name

    found = client.get_experiment_by_name(name)

    assert found is not None
    assert found.experiment_id == experiment
    assert client.get_experiment_by_name(name + "-none") is None


def test_an_experiment_is_renamed(client: MlflowClient, experiment: str) -> None:
    name = factories.unique()

    client.rename_experiment(experiment, name)

    assert client.get_experiment(experiment).name == name


def test_an_experiment_is_deleted_and_restored(client: MlflowClient, experiment: str, run: str) -> None:
    client.delete_experiment(experiment)
    deleted = (client.get_experiment(experiment).lifecycle_stage, client.get_run(run).info.lifecycle_stage)
    client.restore_experiment(experiment)
    restored = (client.get_experiment(experiment).lifecycle_stage, client.get_run(run).info.lifecycle_stage)

    assert (deleted, restored) == (("deleted", "deleted"), ("active", "active"))


def test_experiment_tags_are_set_and_deleted(client: MlflowClient, experiment: str) -> None:
    client.set_experiment_tag(experiment, "a", 1)
    client.set_experiment_tag(experiment, "b", "2")
    client.delete_experiment_tag(experiment, "a")

    assert client.get_experiment(experiment).tags == {"b": "2"}


def test_experiments_are_searched_page_by_page(client: MlflowClient) -> None:
    group = factories.unique()
    ids = [client.create_experiment(f"{group}-{number}", tags={"group": group}) for number in range(5)]
    query: dict[str, Any] = {"filter_string": f"tags.group = '{group}'", "order_by": ["name ASC"], "max_results": 2}

    pages = [client.search_experiments(**query)]
    while pages[-1].token:
        pages.append(client.search_experiments(page_token=pages[-1].token, **query))

    assert [experiment.experiment_id for page in pages for experiment in page] == ids
    assert [len(page) for page in pages] == [2, 2, 1]


@pytest.mark.parametrize(
    ("view_type", "count"), [(ViewType.ACTIVE_ONLY, 1), (ViewType.DELETED_ONLY, 2), (ViewType.ALL, 3)]
)
def test_experiments_are_searched_by_life(client: MlflowClient, view_type: int, count: int) -> None:
    group = factories.unique()
    ids = [client.create_experiment(f"{group}-{number}", tags={"group": group}) for number in range(3)]
    for experiment_id in ids[1:]:
        client.delete_experiment(experiment_id)

    assert len(client.search_experiments(view_type, filter_string=f"tags.group = '{group}'")) == count


def test_a_run_is_created_and_read(client: MlflowClient, experiment: str) -> None:
    created = client.create_run(experiment, start_time=5, tags={"a": "1"}, run_name="first")

    run = client.get_run(created.info.run_id)
    assert (run.info.experiment_id, run.info.run_name, run.info.start_time) == (experiment, "first", 5)
    assert (run.info.status, run.info.end_time, run.info.lifecycle_stage) == ("RUNNING", None, "active")
    assert run.data.tags == {"a": "1", "mlflow.runName": "first"}
    assert (run.data.params, run.data.metrics) == ({}, {})
    assert run.inputs is not None
    assert run.inputs.dataset_inputs == []


def test_a_run_starts_now_unless_told_otherwise(client: MlflowClient, experiment: str) -> None:
    run = client.create_run(experiment)

    created = client.get_experiment(experiment).creation_time
    assert created is not None
    assert run.info.start_time > created - 1000


def test_a_run_is_updated(client: MlflowClient, run: str) -> None:
    client.update_run(run, status="FAILED", name="new")

    info = client.get_run(run).info
    assert (info.status, info.run_name) == ("FAILED", "new")


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_is_terminated(client: MlflowClient, run: str, status: str) -> None:
    client.set_terminated(run, status, end_time=123)

    info = client.get_run(run).info
    assert (info.status, info.end_time) == (status, 123)


def test_a_run_is_deleted_and_restored(client: MlflowClient, run: str) -> None:
    client.delete_run(run)
    deleted = client.get_run(run).info.lifecycle_stage
    client.restore_run(run)

    assert (deleted, client.get_run(run).info.lifecycle_stage) == ("deleted", "active")


def test_a_run_knows_its_parent(client: MlflowClient, experiment: str, run: str) -> None:
    child = client.create_run(experiment, tags={"mlflow.parentRunId": run})

    parent = client.get_parent_run(child.info.run_id)

    assert parent is not None
    assert parent.info.run_id == run
    assert client.get_parent_run(run) is None


def test_metrics_params_and_tags_are_logged_one_by_one(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "m", 0.5, timestamp=7, step=3)
    client.log_metric(run, "now", 1)
    assert client.log_param(run, "p", 5) == 5
    client.set_tag(run, "t", 1.5)
    client.set_tag(run, "gone", "x")
    client.delete_tag(run, "gone")

    data = client.get_run(run).data
    assert (data.metrics, data.params) == ({"m": 0.5, "now": 1.0}, {"p": "5"})
    assert (data.tags["t"], "gone" in data.tags) == ("1.5", False)


@pytest.mark.parametrize(("given", "read"), [(math.inf, LARGEST), (-math.inf, -LARGEST), (1e-300, 1e-300), (True, 1.0)])
def test_a_metric_is_read_as(client: MlflowClient, run: str, given: float, read: float) -> None:
    client.log_metric(run, "m", given)

    assert client.get_run(run).data.metrics == {"m": read}


def test_a_metric_that_is_no_number_stays_so(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "m", math.nan, step=1)

    assert math.isnan(client.get_run(run).data.metrics["m"])
    assert math.isnan(client.get_metric_history(run, "m")[0].value)


def test_a_batch_is_logged(client: MlflowClient, run: str) -> None:
    metrics = [Metric("m", step / 3, 100 + step, step) for step in range(1000)]

    client.log_batch(run, metrics=metrics)
    client.log_batch(run, params=[Param("p", "1")], tags=[RunTag("t", "2")])

    data = client.get_run(run).data
    assert (data.metrics, data.params, data.tags["t"]) == ({"m": 333.0}, {"p": "1"}, "2")
    assert client.get_metric_history(run, "m") == metrics


def test_the_latest_metric_is_the_one_of_the_last_step(client: MlflowClient, run: str) -> None:
    client.log_metric(run, "m", 1.0, timestamp=1, step=2)
    client.log_metric(run, "m", 2.0, timestamp=9, step=1)

    assert client.get_run(run).data.metrics == {"m": 1.0}


def test_an_unknown_history_is_empty(client: MlflowClient, run: str) -> None:
    assert list(client.get_metric_history(run, "none")) == []


def test_inputs_are_logged(client: MlflowClient, run: str, model: str) -> None:
    dataset = Dataset("iris", "d1", "local", "src", schema="{}", profile=None)
    given = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])

    client.log_inputs(run, datasets=[given], models=[LoggedModelInput(model_id=model)])

    inputs = client.get_run(run).inputs
    assert inputs is not None
    assert [dict(entry.dataset) for entry in inputs.dataset_inputs] == [dict(dataset)]
    assert [dict(tag) for tag in inputs.dataset_inputs[0].tags] == [dict(tag) for tag in given.tags]
    assert [entry.model_id for entry in inputs.model_inputs] == [model]


def test_outputs_are_logged(client: MlflowClient, run: str, model: str) -> None:
    client.log_outputs(run, models=[LoggedModelOutput(model_id=model, step=4)])

    outputs = client.get_run(run).outputs
    assert outputs is not None
    assert [(output.model_id, output.step) for output in outputs.model_outputs] == [(model, 4)]


def test_runs_are_searched_page_by_page(client: MlflowClient, experiment: str) -> None:
    ids = [client.create_run(experiment, start_time=number).info.run_id for number in range(5)]
    for number, run_id in enumerate(ids):
        client.log_metric(run_id, "m", number)
    query: dict[str, Any] = {"filter_string": "metrics.m > 0", "order_by": ["metrics.m ASC"], "max_results": 3}

    pages = [client.search_runs([experiment], **query)]
    while pages[-1].token:
        pages.append(client.search_runs([experiment], page_token=pages[-1].token, **query))

    assert [run.info.run_id for page in pages for run in page] == ids[1:]
    assert [len(page) for page in pages] == [3, 1]


@pytest.mark.parametrize(
    ("view_type", "count"), [(ViewType.ACTIVE_ONLY, 1), (ViewType.DELETED_ONLY, 2), (ViewType.ALL, 3)]
)
def test_runs_are_searched_by_life(client: MlflowClient, experiment: str, view_type: int, count: int) -> None:
    ids = [client.create_run(experiment).info.run_id for _ in range(3)]
    for run_id in ids[1:]:
        client.delete_run(run_id)

    assert len(client.search_runs([experiment], run_view_type=view_type)) == count


@pytest.mark.parametrize(
    "clause",
    [
        "params.p = '1' and tags.t LIKE 'a%'",
        "attributes.status = 'RUNNING'",
        "attributes.run_id IN ('{run}')",
        "metrics.m >= 0.5",
        "tags.missing IS NULL",
    ],
)
def test_a_filter_finds_the_run(client: MlflowClient, experiment: str, run: str, clause: str) -> None:
    client.log_batch(run, [Metric("m", 0.5, 1, 0)], [Param("p", "1")], [RunTag("t", "abc")])

    found = client.search_runs([experiment], clause.replace("{run}", run))

    assert [entry.info.run_id for entry in found] == [run]


def test_a_model_lives(client: MlflowClient, experiment: str, run: str) -> None:
    created = client.create_logged_model(
        experiment, name="model", source_run_id=run, tags={"t": "1"}, params={"p": "2"}, model_type="Agent"
    )
    client.log_model_params(created.model_id, {"q": "3"})
    client.set_logged_model_tags(created.model_id, {"u": "4", "t": "5"})
    client.delete_logged_model_tag(created.model_id, "u")
    client.finalize_logged_model(created.model_id, "READY")

    model = client.get_logged_model(created.model_id)
    assert (model.name, model.model_type, model.source_run_id) == ("model", "Agent", run)
    assert (model.tags, model.params, model.status) == ({"t": "5"}, {"p": "2", "q": "3"}, LoggedModelStatus.READY)
    assert (created.status, created.creation_timestamp) == (LoggedModelStatus.PENDING, model.creation_timestamp)


@pytest.mark.parametrize("count", [101, 250])
def test_a_model_may_have_many_params(client: MlflowClient, experiment: str, count: int) -> None:
    params = {f"p{number}": str(number) for number in range(count)}

    model = client.create_logged_model(experiment, params=params)

    assert client.get_logged_model(model.model_id).params == params


def test_a_deleted_model_is_gone(client: MlflowClient, experiment: str, model: str) -> None:
    client.delete_logged_model(model)

    with pytest.raises(MlflowException) as raised:
        client.get_logged_model(model)

    assert as_refused(raised) == refused("RESOURCE_DOES_NOT_EXIST", texts.no_model(model))
    assert list(client.search_logged_models([experiment])) == []


def test_a_metric_belongs_to_a_model_and_a_dataset(client: MlflowClient, run: str, model: str) -> None:
    client.log_metric(run, "acc", 0.9, 7, 3, dataset_name="iris", dataset_digest="d1", model_id=model)

    metrics = client.get_logged_model(model).metrics
    assert metrics is not None
    assert [
        (entry.key, entry.value, entry.timestamp, entry.step, entry.run_id, entry.dataset_name, entry.dataset_digest)
        for entry in metrics
    ] == [("acc", 0.9, 7, 3, run, "iris", "d1")]


def test_models_are_searched_page_by_page(client: MlflowClient, experiment: str, run: str) -> None:
    ids = [client.create_logged_model(experiment, name=f"model-{number}").model_id for number in range(5)]
    for number, model_id in enumerate(ids):
        client.log_metric(run, "acc", number, model_id=model_id)
    query: dict[str, Any] = {
        "filter_string": "metrics.acc > 0 AND name LIKE 'model-%'",
        "order_by": [{"field_name": "metrics.acc", "ascending": False}],
        "max_results": 3,
    }

    pages = [client.search_logged_models([experiment], **query)]
    while pages[-1].token:
        pages.append(client.search_logged_models([experiment], page_token=pages[-1].token, **query))

    assert [found.model_id for page in pages for found in page] == ids[:0:-1]
    assert [len(page) for page in pages] == [3, 1]


def test_models_are_searched_by_dataset(client: MlflowClient, experiment: str, run: str, model: str) -> None:
    client.create_logged_model(experiment, name="other")
    client.log_metric(run, "acc", 1, dataset_name="iris", dataset_digest="d1", model_id=model)

    found = client.search_logged_models([experiment], datasets=[{"dataset_name": "iris", "dataset_digest": "d1"}])

    assert [entry.model_id for entry in found] == [model]


def test_an_unknown_run_raises(client: MlflowClient) -> None:
    with pytest.raises(MlflowException) as raised:
        client.get_run("nope")

    assert as_refused(raised) == refused("RESOURCE_DOES_NOT_EXIST", "Run with id=nope not found")


def test_an_unknown_experiment_raises(client: MlflowClient) -> None:
    with pytest.raises(MlflowException) as raised:
        client.get_experiment(factories.UNKNOWN_EXPERIMENT)

    assert as_refused(raised) == refused("RESOURCE_DOES_NOT_EXIST", texts.no_experiment(factories.UNKNOWN_EXPERIMENT))


def test_a_taken_name_raises(client: MlflowClient, experiment: str) -> None:
    name = client.get_experiment(experiment).name

    with pytest.raises(MlflowException) as raised:
        client.create_experiment(name)

    assert raised.value.error_code == "RESOURCE_ALREADY_EXISTS"
    assert f"Experiment(name={name}) already exists." in raised.value.message


def test_a_changed_param_raises(client: MlflowClient, run: str) -> None:
    client.log_param(run, "p", "1")

    with pytest.raises(MlflowException, match="Changing param values is not allowed") as raised:
        client.log_param(run, "p", "2")

    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"
    assert f"was already logged with value='1' for run ID='{run}'" in raised.value.message


def test_a_deleted_run_raises_when_written_to(client: MlflowClient, run: str) -> None:
    client.delete_run(run)

    with pytest.raises(MlflowException) as raised:
        client.log_metric(run, "m", 1)

    assert as_refused(raised) == refused("INVALID_PARAMETER_VALUE", texts.run_not_active(run))


def test_a_bad_filter_raises(client: MlflowClient, experiment: str) -> None:
    with pytest.raises(MlflowException) as raised:
        client.search_runs([experiment], "metrics.m > 1 OR metrics.m < 0")

    assert as_refused(raised) == refused("INVALID_PARAMETER_VALUE", "Invalid clause(s) in filter string: 'OR'")


def test_a_missing_tag_raises_when_deleted(client: MlflowClient, run: str) -> None:
    with pytest.raises(MlflowException) as raised:
        client.delete_tag(run, "missing")

    assert as_refused(raised) == refused("RESOURCE_DOES_NOT_EXIST", f"No tag with name: missing in run with id {run}")


def test_too_large_a_page_raises(client: MlflowClient) -> None:
    with pytest.raises(MlflowException) as raised:
        client.search_experiments(max_results=50001)

    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "It must be at most 50000" in raised.value.message
