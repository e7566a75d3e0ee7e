"""A client's view of the server: each expectation is what MLflow 3.18.0 was measured to do, or is marked.

    MODELSTEAD_TEST_URL=http://127.0.0.1:5050 python -m pytest tests/compat -n 2 -m "not departure"   # stock MLflow
    python -m pytest tests/compat -n 2                                                                # this checkout

Tests marked `departure` say where stock MLflow is wrong and what is right; against stock they fail, by design.

Differences from stock that no test holds against a server:
- what page tokens look like inside, and the words that refuse one after `Invalid page token`;
- the text after `already exists.`, `sqlstate`, and where stock prints a Python set, the order of its members;
- HTML or not in the bodies of 404 (no such route) and 405; redirects of `//`; HEAD and OPTIONS;
- white space in JSON; the order of tags, params and metrics in a run, model or experiment, and of dataset summaries;
- randomly made run and model names, and local paths as artifact locations;
- slack in stock's filter parser: stray or missing ANDs, empty keys, unquoted or double-quoted values of logged models,
  a backslash in LIKE (which depends on the database there);
- slack in stock's numbers: `experiment_id=" 1_0"`; negative offsets and counts;
- a `model_id` in the body of finalize and params of a logged model, which stock demands beside the one in the path;
- a run created with an empty name tag, which stock refuses;
- the order of a registered model's latest versions in a search; backticks around `name` and `tags` in registry filters,
  which stock refuses; words that sqlparse takes for keywords there (`version`, `source`);
- entries of `mlflow.modelVersions` that MLflow's own client adds again;
- entity tags of files, `Last-Modified`, `Cache-Control`, `Vary`; several ranges at once; `Allow` without OPTIONS;
- white space and `"error_class"` in errors of the artifact proxy; the media type of an empty answer to an upload;
- a body in a GET request, which stock reads when there is no query string; bodies in UTF-16 or with a byte order mark.
"""

import os
from collections.abc import Iterator
from unittest import mock

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")

import mlflow
import pytest
from mlflow import MlflowClient

from tests.compat import factories
from tests.compat.files import Files, Wire
from tests.compat.rest import Rest


@pytest.fixture(scope="module", autouse=True)
def refuses_at_once() -> Iterator[None]:
    """MLflow's client tells what the server said; elsewhere it tries again as users have it do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"))
        yield


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> str:
    """The server under test: `MODELSTEAD_TEST_URL`, or the stack that tests/conftest.py starts."""
    given = os.environ.get("MODELSTEAD_TEST_URL")
    return given or str(request.getfixturevalue("stack").url)


@pytest.fixture(scope="session")
def rest(base_url: str) -> Iterator[Rest]:
    caller = Rest(base_url)
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def client(base_url: str) -> MlflowClient:
    """The client as users have it, but for `refuses_at_once`."""
    return MlflowClient(tracking_uri=base_url, registry_uri=base_url)


@pytest.fixture
def fluent(base_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is not called on a client goes to the server under test, and afterwards to wherever it went before.

    MLflow keeps this in the process, where it goes before variables, and in variables, for processes that are started.
    """
    # What it asks for instead of a choice is none that could be made again.
    before = mlflow.tracking._tracking_service.utils._tracking_uri
    monkeypatch.setattr("mlflow.tracking._model_registry.utils._registry_uri", None)
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    with mock.patch.dict(os.environ):
        mlflow.set_tracking_uri(base_url)
        mlflow.set_registry_uri(base_url)
        yield
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]


@pytest.fixture
def experiment_id(rest: Rest) -> str:
    return factories.new_experiment(rest)


@pytest.fixture
def run_id(rest: Rest) -> str:
    return factories.new_run(rest)


@pytest.fixture
def model_id(rest: Rest) -> str:
    return factories.new_model(rest)


@pytest.fixture(scope="session")
def wire(base_url: str) -> Wire:
    return Wire(base_url)


@pytest.fixture
def files(wire: Wire, rest: Rest, run_id: str) -> Files:
    """The artifacts of the run."""
    root: str = rest.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"]
    return Files(wire=wire, root=root.removeprefix("mlflow-artifacts:/"))


@pytest.fixture
def model_files(wire: Wire, rest: Rest, model_id: str) -> Files:
    """The artifacts of the logged model."""
    root: str = rest.get(f"logged-models/{model_id}")["model"]["info"]["artifact_uri"]
    return Files(wire=wire, root=root.removeprefix("mlflow-artifacts:/"))
