"""A registry that demands files at the source of a version, on the real platform with a store elsewhere."""

import contextlib
import hashlib
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import requests

from modelstead.registry.v1 import (
    model_versions_pb2,
    model_versions_pb2_grpc,
    registered_models_pb2,
    registered_models_pb2_grpc,
)
from modelstead.tracking.v1 import experiments_pb2, experiments_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.common.errors import ServiceError
from services.common.rpc import failures
from services.local import waiting
from tests.s3 import S3, EmbeddedS3
from tests.stack import READY_TIMEOUT_S, Stack

KEY = "a-key-of-these-tests"
CALL: dict[str, Any] = {"metadata": (("authorization", f"Bearer {KEY}"),), "timeout": 20}
# How long a service may take to find another one that is back.
FOUND_AGAIN_S = 10.0


@dataclass(frozen=True)
class Platform:
    """A platform whose callers have keys, and another S3 with a bucket that is allowed."""

    stack: Stack
    lake: S3
    bucket: str
    models: Any
    versions: Any
    experiments: Any
    runs: Any

    def new_run(self) -> runs_pb2.RunInfo:
        request = experiments_pb2.CreateExperimentRequest(name=uuid.uuid4().hex)
        experiment = self.experiments.CreateExperiment(request, **CALL)
        created = self.runs.CreateRun(runs_pb2.CreateRunRequest(experiment_id=experiment.experiment_id), **CALL)
        info: runs_pb2.RunInfo = created.run.info
        return info

    def put(self, uri: str, contents: bytes = b"x") -> None:
        path = uri.removeprefix("mlflow-artifacts:/")
        answer = requests.put(
            f"{self.stack.url}/api/2.0/mlflow-artifacts/artifacts/{path}",
            data=contents,
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        answer.raise_for_status()

    def create(self, source: str, **fields: Any) -> model_versions_pb2.ModelVersion:
        """Make a registered model with a version of this source."""
        name = fields.pop("name", None) or self.new_model()
        request = model_versions_pb2.CreateModelVersionRequest(name=name, source=source, **fields)
        version: model_versions_pb2.ModelVersion = self.versions.CreateModelVersion(request, **CALL).model_version
        return version

    def refusal(self, source: str, **fields: Any) -> ServiceError:
        with pytest.raises(grpc.RpcError) as raised:
            self.create(source, **fields)
        told = failures.told(raised.value)  # type: ignore[arg-type]
        assert told is not None, raised.value
        return told

    def new_model(self) -> str:
        request = registered_models_pb2.CreateRegisteredModelRequest(name=uuid.uuid4().hex)
        return str(self.models.CreateRegisteredModel(request, **CALL).registered_model.name)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with EmbeddedS3(tmp_path_factory.mktemp("lake")) as server:
        yield server.s3


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, lake: S3) -> Iterator[Platform]:
    path, bucket = tmp_path_factory.mktemp("sources"), lake.make_bucket()
    (path / "access").write_text(lake.access_key)
    (path / "secret").write_text(lake.secret_key)
    (path / "tokens").write_text(f"ann:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    stores = (
        f'[stores.lake]\nroot = "s3://{bucket}"\nendpoint_url = "{lake.endpoint}"\nregion = "us-east-1"\n'
        f'access_key_file = "{path}/access"\nsecret_key_file = "{path}/secret"\n'
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODELSTEAD_REQUIRE_SOURCE", "true")
        with _running(Stack(path, tokens_file=path / "tokens", artifact_stores=stores), lake, bucket) as platform:
            yield platform


@contextlib.contextmanager
def _running(stack: Stack, lake: S3, bucket: str) -> Iterator[Platform]:
    with (
        stack,
        grpc.insecure_channel(stack.registry_address) as registry,
        grpc.insecure_channel(stack.grpc_address) as tracking,
    ):
        yield Platform(
            stack=stack,
            lake=lake,
            bucket=bucket,
            models=registered_models_pb2_grpc.RegisteredModelServiceStub(registry),
            versions=model_versions_pb2_grpc.ModelVersionServiceStub(registry),
            experiments=experiments_pb2_grpc.ExperimentServiceStub(tracking),
            runs=runs_pb2_grpc.RunServiceStub(tracking),
        )


def says_absent(error: ServiceError, source: str) -> bool:
    sentence = "There are no files at it: log them before the version is created."
    said = (error.reason, error.message)
    return said == ("INVALID_PARAMETER_VALUE", f"Invalid model version source: '{source}'. {sentence}")


def test_a_source_needs_files(platform: Platform) -> None:
    run = platform.new_run()
    folder, file = f"{run.artifact_uri}/model", f"{run.artifact_uri}/model/MLmodel"
    before = platform.refusal(folder, run_id=run.run_id)

    platform.put(file)

    assert says_absent(before, folder)
    assert platform.create(folder, run_id=run.run_id).source == folder
    assert platform.create(file, run_id=run.run_id).source == file
    assert says_absent(platform.refusal(f"{folder}/MLmode", run_id=run.run_id), f"{folder}/MLmode")


def test_a_source_that_names_its_run_needs_files_there(platform: Platform) -> None:
    run = platform.new_run()
    before = platform.refusal(f"runs:/{run.run_id}/model", run_id=run.run_id)

    platform.put(f"{run.artifact_uri}/model/MLmodel")

    assert says_absent(before, f"runs:/{run.run_id}/model")
    assert platform.create(f"runs:/{run.run_id}/model", run_id=run.run_id).run_id == run.run_id
    unknown = "0" * 32
    assert says_absent(platform.refusal(f"runs:/{unknown}/model", run_id=unknown), f"runs:/{unknown}/model")


def test_a_copy_needs_files_where_the_original_has_them(platform: Platform) -> None:
    run = platform.new_run()
    platform.put(f"{run.artifact_uri}/model/MLmodel")
    original = platform.create(f"{run.artifact_uri}/model", run_id=run.run_id)

    copy = platform.create(f"models:/{original.name}/1")

    assert copy.source == f"models:/{original.name}/1"


def test_a_source_elsewhere_needs_files_in_a_store_that_is_allowed(platform: Platform) -> None:
    source = f"s3://{platform.bucket}/model"
    before = platform.refusal(source)
    platform.lake.client().put_object(
        bucket_name=platform.bucket, object_name="model/MLmodel", data=io.BytesIO(b"x"), length=1
    )

    outside = platform.refusal("s3://elsewhere/model")

    assert says_absent(before, source)
    assert platform.create(source).source == source
    assert (outside.reason, outside.message) == (
        "INVALID_PARAMETER_VALUE",
        "The artifacts at 's3://elsewhere/model' are in no store that this server's operator allows.",
    )


def test_a_prompt_needs_no_files(platform: Platform) -> None:
    tag = model_versions_pb2.ModelVersionTag(key="mlflow.prompt.is_prompt", value="true")

    assert platform.create("dummy-source", tags=[tag]).version == "1"


@pytest.mark.alone
def test_without_the_artifact_service_new_versions_wait(platform: Platform) -> None:
    run, name = platform.new_run(), platform.new_model()
    platform.put(f"{run.artifact_uri}/model/MLmodel")
    source = f"{run.artifact_uri}/model"
    platform.stack.kill("artifacts")
    try:
        error = platform.refusal(source, run_id=run.run_id, name=name)
    finally:
        platform.stack.start("artifacts")
        assert waiting.until(platform.stack.artifacts_are_ready, timeout_s=READY_TIMEOUT_S)

    assert error.reason == "TEMPORARILY_UNAVAILABLE"
    assert error.message == "The artifact service is unavailable; try again."
    assert waiting.until(lambda: _is_made(platform, source, run.run_id, name), timeout_s=FOUND_AGAIN_S)


def _is_made(platform: Platform, source: str, run_id: str, name: str) -> bool:
    try:
        platform.create(source, run_id=run_id, name=name)
    except grpc.RpcError:
        return False
    return True
