"""Unmodified MLflow code with `MLFLOW_TRACKING_URI=modelstead://…`, against the platform."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
from mlflow.tracking._model_registry.utils import _get_store_registry
from mlflow.tracking._tracking_service.utils import _tracking_store_registry

from modelstead.mlflow_plugin.tracking import TrackingStore
from modelstead.runs.process import CURRENT
from tests.client import plugins
from tests.stack import Stack

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def uri(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(plugins.install(tmp_path_factory.mktemp("plugins"))))
        patch.setenv("MODELSTEAD_SPOOL_DIR", str(tmp_path_factory.mktemp("spool")))
        for registry in (_tracking_store_registry, _get_store_registry(), _artifact_repository_registry):
            patch.setattr(registry, "_registry", dict(registry._registry))
            registry.register_entrypoints()
        yield "modelstead://" + stack.url.removeprefix("http://")


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri, registry_uri=uri)


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    experiment_id = client.create_experiment(f"plugin {uuid.uuid4().hex}")
    return str(client.create_run(experiment_id, run_name="r").info.run_id)


def _store(client: MlflowClient) -> TrackingStore:
    store = client._tracking_client.store
    assert isinstance(store, TrackingStore)
    return store


def test_reads_see_what_was_logged_just_before(client: MlflowClient, run_id: str) -> None:
    for step in range(300):
        client.log_metric(run_id, "loss", 1 / (step + 1), step=step, timestamp=1000 + step)
    client.log_param(run_id, "lr", 0.1)
    client.set_tag(run_id, "team", "vision")
    client.log_batch(run_id, [Metric("acc", 0.5, 1, 1)], [Param("p", "1")], [RunTag("t", "2")])

    run = client.get_run(run_id)
    history = client.get_metric_history(run_id, "loss")

    assert run.data.metrics == {"loss": 1 / 300, "acc": 0.5}
    assert run.data.params == {"lr": "0.1", "p": "1"}
    assert (run.data.tags["team"], run.data.tags["t"]) == ("vision", "2")
    assert [(point.step, point.timestamp) for point in history] == [(step, 1000 + step) for step in range(300)]


def test_values_of_one_step_and_millisecond_are_all_kept(client: MlflowClient, run_id: str) -> None:
    client.log_batch(run_id, [Metric("m", 1.0, 5, 0), Metric("n", 3.0, 5, 0), Metric("m", 2.0, 5, 0)])

    history = client.get_metric_history(run_id, "m")

    assert sorted((point.value, point.timestamp, point.step) for point in history) == [(1.0, 5, 0), (2.0, 5, 0)]
    assert client.get_run(run_id).data.metrics == {"m": 2.0, "n": 3.0}


def test_what_is_logged_goes_through_the_spool(client: MlflowClient, run_id: str) -> None:
    recorder = _store(client)._recorder
    client.log_metric(run_id, "m", 1.0)
    client.get_run(run_id)
    before = recorder._writer.last_sequence  # type: ignore[union-attr]

    client.log_metric(run_id, "m", 2.0)
    client.get_run(run_id)

    assert recorder._writer.last_sequence == before + 1  # type: ignore[union-attr]


def test_metrics_of_a_logged_model_stay_with_it(client: MlflowClient, run_id: str) -> None:
    experiment_id = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment_id, source_run_id=run_id)

    client.log_metric(run_id, "auc", 0.9, model_id=model.model_id, dataset_name="d", dataset_digest="1")
    client.log_metric(run_id, "plain", 0.1)

    [metric] = client.get_logged_model(model.model_id).metrics or []
    assert (metric.key, metric.value, metric.dataset_name) == ("auc", 0.9, "d")
    assert client.get_run(run_id).data.metrics == {"auc": 0.9, "plain": 0.1}


def test_another_value_for_a_parameter_is_refused(client: MlflowClient, run_id: str) -> None:
    client.log_param(run_id, "lr", 0.1)
    client.log_param(run_id, "lr", 0.1)

    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_param(run_id, "lr", 0.2)


def test_a_run_that_is_not_there_or_deleted_is_refused(client: MlflowClient, run_id: str, uri: str) -> None:
    client.delete_run(run_id)
    fresh = TrackingStore(uri)

    for one in (run_id, uuid.uuid4().hex):
        with pytest.raises(MlflowException, match=one):
            fresh.log_metric(one, Metric("m", 1.0, 1, 1))


def test_a_run_ends_after_all_that_was_logged_to_it(client: MlflowClient, run_id: str) -> None:
    client.log_metric(run_id, "m", 1.0)
    client.set_terminated(run_id, "FAILED", end_time=123)

    run = client.get_run(run_id)

    assert (run.info.status, run.info.end_time, run.data.metrics) == ("FAILED", 123, {"m": 1.0})


def test_a_run_that_ends_unprinted_leaves_nothing_behind(
    client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

    client.set_terminated(run_id)

    assert _store(client)._of_thread.ends_run is False
    assert client.get_run(run_id).info.status == "FINISHED"


def test_artifacts_and_models_go_through_the_gateway(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    name = f"model-{uuid.uuid4().hex}"
    client.log_text(run_id, "hello", "notes/a.txt")
    client.create_registered_model(name)
    version = client.create_model_version(name, f"runs:/{run_id}/notes", run_id)

    assert [file.path for file in client.list_artifacts(run_id, "notes")] == ["notes/a.txt"]
    assert Path(client.download_artifacts(run_id, "notes/a.txt", str(tmp_path))).read_text() == "hello"
    assert client.get_model_version(name, version.version).run_id == run_id


def test_the_fluent_api_works_unmodified(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # MLflow keeps both for the process, and hands them on in its environment.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        # So that it is taken back whatever MLflow does.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(f"fluent {uuid.uuid4().hex}")
    with mlflow.start_run(run_name="parent") as run:
        mlflow.log_params({"a": 1})
        mlflow.log_metrics({"loss": 0.5}, step=3)
        mlflow.log_metric("later", 1.0, synchronous=False)
    mlflow.flush_async_logging()
    [found] = mlflow.search_runs(output_format="list")

    assert found.info.run_id == run.info.run_id
    assert found.data.metrics == {"loss": 0.5, "later": 1.0}
    assert found.info.status == "FINISHED"


@pytest.mark.slow
def test_autologging_works_unmodified(stack: Stack, uri: str, client: MlflowClient, tmp_path: Path) -> None:
    name = f"autolog {uuid.uuid4().hex}"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "PYTHONPATH": os.pathsep.join([str(plugins.install(tmp_path)), *sys.path]),
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_EXPERIMENT_NAME": name,
        "MODELSTEAD_SPOOL_DIR": str(tmp_path / "spool"),
        "MODELSTEAD_EXIT_TIMEOUT_S": "60",
    }

    done = subprocess.run(
        [sys.executable, "-P", str(_EXAMPLES / "sklearn_autolog.py")],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    [parent] = [run for run in runs if run.info.run_name == "forest search"]
    assert "holdout_r2" in parent.data.metrics
    assert parent.data.params["cv"] == "3"
    assert "not sent" not in done.stderr


def test_ranks_of_a_launch_create_one_run_and_the_last_of_them_ends_it(
    uri: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = client.create_experiment(f"plugin {uuid.uuid4().hex}")
    monkeypatch.setenv("MODELSTEAD_LAUNCH_ID", uuid.uuid4().hex)
    monkeypatch.setenv("WORLD_SIZE", "2")
    stores = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        stores.append(TrackingStore(uri))
        # Each is a process of its own, as far as it counts the runs that it creates.
        CURRENT._launched.clear()
        created = stores[rank].create_run(experiment_id, "u", 5, [RunTag("t", "1")], "several")
        stores[rank].log_metric(created.info.run_id, Metric("m", float(rank), 1, rank))

    first = stores[0].update_run_info(created.info.run_id, RunStatus.FINISHED, 10, None)
    second = stores[1].update_run_info(created.info.run_id, RunStatus.FINISHED, 11, None)

    [run] = client.search_runs([experiment_id])
    assert (first.status, second.status, run.info.status) == ("RUNNING", "FINISHED", "FINISHED")
    assert (run.info.run_id, run.info.run_name, run.info.end_time) == (created.info.run_id, "several", 11)
    assert run.data.tags["t"] == "1"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "m")] == [0.0, 1.0]
