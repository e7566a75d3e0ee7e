"""The registry over gRPC on the real platform: who is calling, what it asks tracking, and while tracking is away."""

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelstead.registry.v1 import (
    model_versions_pb2,
    model_versions_pb2_grpc,
    registered_models_pb2,
    registered_models_pb2_grpc,
)
from modelstead.tracking.v1 import experiments_pb2, experiments_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.local import waiting
from tests.stack import READY_TIMEOUT_S, Stack

KEY = "a-key-of-these-tests"
CALL: dict[str, Any] = {"metadata": (("authorization", f"Bearer {KEY}"),), "timeout": 20}
# How long a service may take to find another one that is back.
FOUND_AGAIN_S = 10.0


@dataclass(frozen=True)
class Platform:
    """A platform that knows its callers, of whom `ann` is one."""

    stack: Stack
    models: Any
    versions: Any
    experiments: Any
    runs: Any

    def new_model(self) -> str:
        request = registered_models_pb2.CreateRegisteredModelRequest(name=uuid.uuid4().hex)
        return str(self.models.CreateRegisteredModel(request, **CALL).registered_model.name)

    def new_version(self, name: str, **fields: Any) -> model_versions_pb2.ModelVersion:
        request = model_versions_pb2.CreateModelVersionRequest(name=name, **{"source": "s3://bucket/model", **fields})
        version: model_versions_pb2.ModelVersion = self.versions.CreateModelVersion(request, **CALL).model_version
        return version

    def new_run(self) -> runs_pb2.RunInfo:
        experiment = self.experiments.CreateExperiment(
            experiments_pb2.CreateExperimentRequest(name=uuid.uuid4().hex), **CALL
        )
        request = runs_pb2.CreateRunRequest(experiment_id=experiment.experiment_id)
        info: runs_pb2.RunInfo = self.runs.CreateRun(request, **CALL).run.info
        return info


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    path = tmp_path_factory.mktemp("registry-stack")
    tokens = path / "tokens"
    tokens.write_text(f"ann:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    with (
        Stack(path, tokens_file=tokens) as stack,
        grpc.insecure_channel(stack.registry_address) as registry,
        grpc.insecure_channel(stack.grpc_address) as tracking,
    ):
        yield Platform(
            stack=stack,
            models=registered_models_pb2_grpc.RegisteredModelServiceStub(registry),
            versions=model_versions_pb2_grpc.ModelVersionServiceStub(registry),
            experiments=experiments_pb2_grpc.ExperimentServiceStub(tracking),
            runs=runs_pb2_grpc.RunServiceStub(tracking),
        )


def test_a_caller_without_a_key_is_refused(platform: Platform) -> None:
    request = registered_models_pb2.GetRegisteredModelRequest(name="x")

    with pytest.raises(grpc.RpcError) as raised:
        platform.models.GetRegisteredModel(request, timeout=20)

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


def test_a_version_says_who_created_it(platform: Platform) -> None:
    assert platform.new_version(platform.new_model()).user_id == "ann"


def test_tracking_is_asked_with_the_callers_key(platform: Platform) -> None:
    run = platform.new_run()
    source = f"{run.artifact_uri}/model"

    version = platform.new_version(platform.new_model(), source=source, run_id=run.run_id)

    assert (version.source, version.run_id) == (source, run.run_id)


def test_a_source_of_another_run_is_refused(platform: Platform) -> None:
    run, other = platform.new_run(), platform.new_run()

    with pytest.raises(grpc.RpcError) as raised:
        platform.new_version(platform.new_model(), source=f"{other.artifact_uri}/model", run_id=run.run_id)

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


@pytest.mark.alone
def test_while_tracking_is_away_only_its_sources_wait(platform: Platform) -> None:
    run, name = platform.new_run(), platform.new_model()
    source = f"{run.artifact_uri}/model"
    platform.stack.kill("tracking")

    try:
        with pytest.raises(grpc.RpcError) as raised:
            platform.new_version(name, source=source, run_id=run.run_id)
        elsewhere = platform.new_version(name)
        got = model_versions_pb2.GetModelVersionRequest(name=name, version="1")
        assert platform.versions.GetModelVersion(got, **CALL).model_version == elsewhere
    finally:
        platform.stack.start("tracking")
        assert waiting.until(platform.stack.tracking_is_ready, timeout_s=READY_TIMEOUT_S)

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    assert waiting.until(lambda: _is_made(platform, name, source, run.run_id), timeout_s=FOUND_AGAIN_S)


def test_a_killed_registry_forgets_nothing_that_it_acknowledged(platform: Platform) -> None:
    name = platform.new_model()
    made = platform.new_version(name)

    platform.stack.kill("registry")
    platform.stack.start("registry")
    # By then the channel, too, knows that its connection is gone.
    platform.stack.wait_until_ready()

    got = model_versions_pb2.GetModelVersionRequest(name=name, version="1")
    found = platform.versions.GetModelVersion(got, wait_for_ready=True, **{**CALL, "timeout": READY_TIMEOUT_S})
    assert found.model_version == made


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "MODELSTEAD_DATABASE_URL"),
        ({"MODELSTEAD_DATABASE_URL": "postgresql://h/d"}, "MODELSTEAD_PAGE_TOKEN_KEY"),
        (
            {"MODELSTEAD_DATABASE_URL": "postgresql://h/d", "MODELSTEAD_PAGE_TOKEN_KEY": "short"},
            "MODELSTEAD_PAGE_TOKEN_KEY must have at least 32 characters.",
        ),
        ({"MODELSTEAD_TRACKING_ADDRESS": "tracking"}, "MODELSTEAD_"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(
    variables: dict[str, str], named: str, tmp_path: Path
) -> None:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MODELSTEAD_")}
    outcome = subprocess.run(
        [sys.executable, "-P", "-m", "services.registry"],
        env=inherited | variables, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert outcome.returncode == 2
    assert outcome.stderr.startswith("registry: ")
    assert named in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def _is_made(platform: Platform, name: str, source: str, run_id: str) -> bool:
    try:
        platform.new_version(name, source=source, run_id=run_id)
    except grpc.RpcError:
        return False
    return True
