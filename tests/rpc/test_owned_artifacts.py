"""The files of runs, logged models and model versions by their ids, over gRPC, with stores elsewhere beside our own."""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import requests

from modelstead import http_pb2
from modelstead.artifacts.v1 import maintenance_pb2, maintenance_pb2_grpc
from modelstead.artifacts.v1 import owned_artifacts_pb2 as pb
from modelstead.artifacts.v1 import owned_artifacts_pb2_grpc as pb_grpc
from modelstead.registry.v1 import (
    model_versions_pb2,
    model_versions_pb2_grpc,
    registered_models_pb2,
    registered_models_pb2_grpc,
)
from modelstead.tracking.v1 import (
    experiments_pb2,
    experiments_pb2_grpc,
    logged_models_pb2,
    logged_models_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
)
from services.common.errors import ServiceError
from services.common.rpc import failures
from services.gateway.backends import Sending
from tests.s3 import EmbeddedS3
from tests.stack import Stack

KEY = "a-key-of-these-tests"
AUTHORIZATION = (("authorization", f"Bearer {KEY}"),)
PLACES = ["managed", "disk", "lake"]
MIB = 1024 * 1024
PROXIED = "proxied artifact storage (artifact URI scheme: mlflow-artifacts)."
PROXIED_DOWNLOAD = f"Presigned download is not supported for runs with {PROXIED}"
PROXIED_UPLOAD = f"Presigned upload is not supported for {PROXIED}"
# How long a service may take to find another one that is back.
FOUND_AGAIN_S = 5.0


@dataclass(frozen=True)
class Platform:
    """A platform that knows its callers, and the two stores elsewhere that its operator allows."""

    stack: Stack
    disk: Path
    lake: str
    artifacts: Any
    uploads: Any
    maintenance: Any
    experiments: Any
    runs: Any
    models: Any
    registered_models: Any
    versions: Any

    async def run(self, place: str) -> str:
        """Make a run whose artifacts are in a place, and return its id."""
        created = await self.runs.CreateRun(runs_pb2.CreateRunRequest(experiment_id=await self._experiment(place)))
        return str(created.run.info.run_id)

    async def model(self, place: str) -> str:
        request = logged_models_pb2.CreateLoggedModelRequest(experiment_id=await self._experiment(place))
        return str((await self.models.CreateLoggedModel(request)).model.info.model_id)

    async def version(self, source: str, **fields: Any) -> str:
        """Make a registered model whose version 1 has this source, and return its name."""
        name = uuid.uuid4().hex
        await self.registered_models.CreateRegisteredModel(
            registered_models_pb2.CreateRegisteredModelRequest(name=name)
        )
        request = model_versions_pb2.CreateModelVersionRequest(name=name, source=source, **fields)
        await self.versions.CreateModelVersion(request)
        return name

    async def uri_of(self, run_id: str) -> str:
        got = await self.runs.GetRun(runs_pb2.GetRunRequest(run_id=run_id))
        return str(got.run.info.artifact_uri)

    async def upload(self, run_id: str, path: str, *contents: bytes, **fields: Any) -> None:
        first = pb.UploadRunArtifactRequest(run_id=run_id, path=path, **fields)
        # An empty message ends what was not announced.
        messages = [first, *(pb.UploadRunArtifactRequest() for _ in contents)]
        for message, data in zip(messages, contents, strict=False):
            message.content.data = data
        call = self.uploads.UploadRunArtifact(metadata=AUTHORIZATION)
        # Where it is refused before all is sent, the call's own way to send would lose the reason at times.
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.InternalError):
            await call.wait_for_connection()
            sending = Sending(call)
            for message in messages:
                await sending.write(message.SerializeToString())
            await sending.end()
        await call

    async def _experiment(self, place: str) -> str:
        location = {"managed": "", "disk": f"file://{self.disk}/team", "lake": f"s3://{self.lake}/team"}[place]
        request = experiments_pb2.CreateExperimentRequest(name=uuid.uuid4().hex, artifact_location=location)
        return str((await self.experiments.CreateExperiment(request)).experiment_id)


class _WithKey(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(metadata=grpc.aio.Metadata(*AUTHORIZATION)), request)


class _StreamWithKey(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(metadata=grpc.aio.Metadata(*AUTHORIZATION)), request)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """Another S3 than the platform's own."""
    with EmbeddedS3(tmp_path_factory.mktemp("lake")) as server:
        yield server


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory, lake: EmbeddedS3) -> AsyncIterator[Platform]:
    path = tmp_path_factory.mktemp("owned")
    bucket = lake.s3.make_bucket()
    (path / "disk").mkdir()
    (path / "access").write_text(lake.s3.access_key)
    (path / "secret").write_text(lake.s3.secret_key)
    (path / "tokens").write_text(f"tester:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    stores = (
        f'[stores.disk]\nroot = "file://{path}/disk"\n'
        f'[stores.lake]\nroot = "s3://{bucket}"\nendpoint_url = "{lake.s3.endpoint}"\nregion = "us-east-1"\n'
        f'access_key_file = "{path}/access"\nsecret_key_file = "{path}/secret"\n'
    )
    with Stack(path, tokens_file=path / "tokens", artifact_stores=stores) as stack:
        interceptors = [_WithKey(), _StreamWithKey()]
        async with (
            grpc.aio.insecure_channel(stack.artifacts_address) as uploads,
            grpc.aio.insecure_channel(stack.artifacts_address, interceptors=interceptors) as artifacts,
            grpc.aio.insecure_channel(stack.grpc_address, interceptors=interceptors) as tracking,
            grpc.aio.insecure_channel(stack.registry_address, interceptors=interceptors) as registry,
        ):
            yield Platform(
                stack=stack,
                disk=path / "disk",
                lake=bucket,
                artifacts=pb_grpc.OwnedArtifactServiceStub(artifacts),
                uploads=pb_grpc.OwnedArtifactServiceStub(uploads),
                maintenance=maintenance_pb2_grpc.MaintenanceServiceStub(artifacts),
                experiments=experiments_pb2_grpc.ExperimentServiceStub(tracking),
                runs=runs_pb2_grpc.RunServiceStub(tracking),
                models=logged_models_pb2_grpc.LoggedModelServiceStub(tracking),
                registered_models=registered_models_pb2_grpc.RegisteredModelServiceStub(registry),
                versions=model_versions_pb2_grpc.ModelVersionServiceStub(registry),
            )


async def download(platform: Platform, run_id: str, path: str, **headers: str) -> tuple[http_pb2.HttpHead, bytes]:
    request = pb.DownloadRunArtifactRequest(run_id=run_id, path=path, **headers)
    messages = [message async for message in platform.artifacts.DownloadRunArtifact(request)]
    head = http_pb2.HttpHead()
    assert messages[0].extensions[0].Unpack(head)
    return head, b"".join(message.data for message in messages)


async def download_of_version(platform: Platform, name: str, path: str, *, version: str = "1") -> bytes:
    request = pb.DownloadModelVersionArtifactRequest(name=name, version=version, path=path)
    return b"".join([message.data async for message in platform.artifacts.DownloadModelVersionArtifact(request)])


async def listed(platform: Platform, run_id: str, path: str = "") -> list[tuple[str, int | None]]:
    answer = await platform.artifacts.ListRunArtifacts(pb.ListRunArtifactsRequest(run_id=run_id, path=path))
    return [(file.path, None if file.is_dir else file.file_size) for file in answer.files]


async def refusal(call: Awaitable[object]) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    told = failures.told(raised.value)
    assert told is not None, raised.value
    return told


async def is_unavailable(call: Awaitable[object]) -> bool:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def is_refused(error: ServiceError, reason: str, text: str) -> bool:
    return (error.reason, error.message) == (reason, text)


@pytest.mark.parametrize("place", PLACES)
async def test_what_is_uploaded_for_a_run_is_listed_and_downloaded(platform: Platform, place: str) -> None:
    run_id = await platform.run(place)

    await platform.upload(run_id, "d/a b%2F.txt", b"one", b"two", size=6)
    await platform.upload(run_id, "top", b"x")

    assert await listed(platform, run_id) == [("d", None), ("top", 1)]
    assert await listed(platform, run_id, "d") == [("d/a b%2F.txt", 6)]
    assert await listed(platform, run_id, "absent") == await listed(platform, run_id, "top") == []
    head, contents = await download(platform, run_id, "d/a b%2F.txt")
    assert contents == b"onetwo"
    assert head.headers["content-disposition"].startswith("attachment; filename=")
    head, contents = await download(platform, run_id, "d/a b%2F.txt", range="bytes=1-3")
    assert (head.status, contents, head.headers["content-range"]) == (206, b"net", "bytes 1-3/6")


@pytest.mark.parametrize("place", PLACES)
async def test_the_root_uri_is_the_one_that_tracking_knows(platform: Platform, place: str) -> None:
    run_id = await platform.run(place)

    answer = await platform.artifacts.ListRunArtifacts(pb.ListRunArtifactsRequest(run_id=run_id))

    assert answer.root_uri == await platform.uri_of(run_id)
    assert list(answer.files) == []


async def test_files_in_an_allowed_folder_are_where_the_uri_says(platform: Platform) -> None:
    run_id = await platform.run("disk")

    await platform.upload(run_id, "d/file", b"x")

    assert (platform.disk / "team" / run_id / "artifacts/d/file").read_bytes() == b"x"


@pytest.mark.parametrize("place", PLACES)
async def test_a_logged_models_files_are_listed_and_downloaded(
    platform: Platform, place: str, lake: EmbeddedS3
) -> None:
    model_id = await platform.model(place)
    got = await platform.models.GetLoggedModel(logged_models_pb2.GetLoggedModelRequest(model_id=model_id))
    await put_below(platform, got.model.info.artifact_uri, "MLmodel", b"flavors: {}")

    answer = await platform.artifacts.ListLoggedModelArtifacts(pb.ListLoggedModelArtifactsRequest(model_id=model_id))
    request = pb.DownloadLoggedModelArtifactRequest(model_id=model_id, artifact_file_path="MLmodel")
    contents = [message.data async for message in platform.artifacts.DownloadLoggedModelArtifact(request)]

    assert answer.root_uri == got.model.info.artifact_uri
    assert [(file.path, file.file_size) for file in answer.files] == [("MLmodel", 11)]
    assert b"".join(contents) == b"flavors: {}"


@pytest.mark.parametrize("place", PLACES)
async def test_a_versions_files_are_downloaded_from_where_its_source_is(platform: Platform, place: str) -> None:
    run_id = await platform.run(place)
    await platform.upload(run_id, "model/MLmodel", b"flavors: {}")
    by_uri = await platform.version(f"{await platform.uri_of(run_id)}/model", run_id=run_id)
    by_run = await platform.version(f"runs:/{run_id}/model", run_id=run_id)

    assert await download_of_version(platform, by_uri, "MLmodel") == b"flavors: {}"
    assert await download_of_version(platform, by_run, "MLmodel") == b"flavors: {}"


async def test_what_the_registry_says_of_an_unknown_version_passes_through(platform: Platform) -> None:
    name = await platform.version("s3://elsewhere/model")

    absent = await refusal(download_of_version(platform, name, "a", version="2"))
    outside = await refusal(download_of_version(platform, name, "a"))

    assert is_refused(absent, "RESOURCE_DOES_NOT_EXIST", f"Model Version (name={name}, version=2) not found")
    text = "The artifacts at 's3://elsewhere/model' are in no store that this server's operator allows."
    assert is_refused(outside, "INVALID_PARAMETER_VALUE", text)


async def put_below(platform: Platform, uri: str, name: str, contents: bytes) -> None:
    """Store a file as a client does that reaches the place itself, through the gateway or past it."""
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        folder = Path(rest.removeprefix("//"))
        await asyncio.to_thread(folder.mkdir, parents=True)
        await asyncio.to_thread((folder / name).write_bytes, contents)
        return
    if scheme == "s3":
        model_id = uri.split("/")[-2]
        request = pb.CreatePresignedUploadUrlRequest(model_id=model_id, path=name)
        url = (await platform.artifacts.CreatePresignedUploadUrl(request)).presigned_url
    else:
        url = f"{platform.stack.url}/api/2.0/mlflow-artifacts/artifacts{rest}/{name}"
    headers = {"authorization": f"Bearer {KEY}"} if scheme == "mlflow-artifacts" else {}
    answer = await asyncio.to_thread(requests.put, url, data=contents, headers=headers, timeout=60)
    answer.raise_for_status()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a\\b", "a//b", "./a", "a\x01", "C:/x", "a#b"])
async def test_a_path_that_could_lead_elsewhere_is_refused(platform: Platform, place: str, path: str) -> None:
    run_id = await platform.run(place)

    calls = [
        platform.upload(run_id, path, b"x"),
        listed(platform, run_id, path),
        download(platform, run_id, path),
    ]

    for call in calls:
        assert is_refused(await refusal(call), "INVALID_PARAMETER_VALUE", "Invalid path")


@pytest.mark.parametrize("place", PLACES)
async def test_a_file_that_is_not_there_is_not_found(platform: Platform, place: str) -> None:
    run_id = await platform.run(place)
    await platform.upload(run_id, "d/file", b"x")

    for path in ("absent", "d", "d/file/below"):
        error = await refusal(download(platform, run_id, path))
        assert is_refused(error, "RESOURCE_DOES_NOT_EXIST", f"No such artifact: '{path}'")


async def test_what_tracking_says_of_an_unknown_owner_passes_through(platform: Platform) -> None:
    run_id, model_id = "0" * 32, f"m-{'0' * 32}"
    request = pb.ListLoggedModelArtifactsRequest(model_id=model_id)

    of_run = await refusal(listed(platform, run_id))
    of_model = await refusal(platform.artifacts.ListLoggedModelArtifacts(request))

    assert is_refused(of_run, "RESOURCE_DOES_NOT_EXIST", f"Run with id={run_id} not found")
    assert is_refused(of_model, "RESOURCE_DOES_NOT_EXIST", f"Logged model with ID '{model_id}' not found.")


async def test_a_caller_without_a_key_gets_nothing(platform: Platform) -> None:
    run_id = await platform.run("managed")

    async with grpc.aio.insecure_channel(platform.stack.artifacts_address) as channel:
        stub: Any = pb_grpc.OwnedArtifactServiceStub(channel)
        error = await refusal(stub.ListRunArtifacts(pb.ListRunArtifactsRequest(run_id=run_id)))

    assert error.reason == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("fields", "contents", "text"),
    [
        ({"run_id": ""}, [b"x"], "Request must specify run_id or run_uuid."),
        ({"path": ""}, [b"x"], "Request must specify path."),
        ({}, [b""], "Request must specify data."),
        ({"size": 0}, [b""], "Request must specify data."),
        ({}, [b"", b""], "Request must specify data."),
        ({"size": 10 * MIB + 1}, [b"x"], "Artifact size is too large. Max size is 10MB."),
        ({}, [b"x" * MIB] * 10 + [b"x"], "Artifact size is too large. Max size is 10MB."),
        ({"size": 2}, [b"xyz"], None),
    ],
)
@pytest.mark.parametrize("place", PLACES)
async def test_an_upload_out_of_bounds_is_refused_and_leaves_nothing(
    platform: Platform, place: str, fields: dict[str, Any], contents: list[bytes], text: str | None
) -> None:
    run_id = await platform.run(place)
    given = {"run_id": run_id, "path": "file", **fields}

    error = await refusal(platform.upload(given.pop("run_id"), given.pop("path"), *contents, **given))

    assert error.reason == "INVALID_PARAMETER_VALUE"
    assert text in (None, error.message)
    assert await listed(platform, run_id) == []


@pytest.mark.parametrize("place", PLACES)
async def test_an_upload_of_ten_mebibytes_is_taken(platform: Platform, place: str) -> None:
    run_id = await platform.run(place)

    await platform.upload(run_id, "file", *[b"x" * MIB] * 10, size=10 * MIB)

    assert await listed(platform, run_id) == [("file", 10 * MIB)]


async def test_presigned_urls_reach_the_runs_own_store(platform: Platform) -> None:
    run_id = await platform.run("lake")
    put = pb.CreatePresignedUploadUrlRequest(run_id=run_id, path="d/file", expiration=3600)
    get = pb.CreatePresignedDownloadUrlRequest(run_id=run_id, path="d/file")

    to = await platform.artifacts.CreatePresignedUploadUrl(put)
    sent = await asyncio.to_thread(requests.put, to.presigned_url, data=b"contents", timeout=60)
    of = await platform.artifacts.CreatePresignedDownloadUrl(get)
    received = await asyncio.to_thread(requests.get, of.presigned_url, timeout=60)

    assert sent.status_code == 200
    assert (received.content, of.file_size) == (b"contents", 8)
    assert await listed(platform, run_id, "d") == [("d/file", 8)]


@pytest.mark.parametrize(
    ("place", "fields", "reason", "text"),
    [
        (
            "managed",
            {},
            "INVALID_PARAMETER_VALUE",
            f"{PROXIED_DOWNLOAD} This endpoint requires a run with a direct cloud storage artifact URI.",
        ),
        ("disk", {}, "NOT_IMPLEMENTED", "Presigned download is not supported for the current artifact repository"),
        ("lake", {}, "RESOURCE_DOES_NOT_EXIST", "No such artifact: 'file'"),
        (
            "lake",
            {"expiration": 604801},
            "INVALID_PARAMETER_VALUE",
            "expiration must be between 1 and 604800 seconds (got 604801).",
        ),
        (
            "lake",
            {"expiration": 0},
            "INVALID_PARAMETER_VALUE",
            "expiration must be between 1 and 604800 seconds (got 0).",
        ),
    ],
)
async def test_a_presigned_download_that_cannot_be_is_refused(
    platform: Platform, place: str, fields: dict[str, int], reason: str, text: str
) -> None:
    run_id = await platform.run(place)
    request = pb.CreatePresignedDownloadUrlRequest(run_id=run_id, path="file", **fields)

    error = await refusal(platform.artifacts.CreatePresignedDownloadUrl(request))

    assert is_refused(error, reason, text)


@pytest.mark.parametrize(
    ("place", "reason", "text"),
    [
        (
            "managed",
            "INVALID_PARAMETER_VALUE",
            f"{PROXIED_UPLOAD} This endpoint requires a direct cloud storage artifact URI.",
        ),
        ("disk", "NOT_IMPLEMENTED", "Presigned upload is not supported for the current artifact repository"),
    ],
)
async def test_a_presigned_upload_that_cannot_be_is_refused(
    platform: Platform, place: str, reason: str, text: str
) -> None:
    request = pb.CreatePresignedUploadUrlRequest(run_id=await platform.run(place), path="file")

    error = await refusal(platform.artifacts.CreatePresignedUploadUrl(request))

    assert is_refused(error, reason, text)


@pytest.mark.parametrize("fields", [{}, {"run_id": "r", "model_id": "m"}])
async def test_a_presigned_upload_needs_one_owner(platform: Platform, fields: dict[str, str]) -> None:
    request = pb.CreatePresignedUploadUrlRequest(path="file", **fields)

    error = await refusal(platform.artifacts.CreatePresignedUploadUrl(request))

    assert is_refused(error, "INVALID_PARAMETER_VALUE", "Exactly one of run_id and model_id must be provided.")


@pytest.mark.parametrize("place", PLACES)
async def test_the_tree_of_a_run_is_deleted_wherever_it_is(platform: Platform, place: str) -> None:
    run_id, other = await platform.run(place), await platform.run(place)
    for owner in (run_id, other):
        await platform.upload(owner, "d/file", b"x")
    request = maintenance_pb2.DeleteTreeRequest(artifact_uri=await platform.uri_of(run_id))

    await platform.maintenance.DeleteTree(request)

    assert await listed(platform, run_id) == []
    assert await listed(platform, other, "d") == [("d/file", 1)]


@pytest.mark.alone
async def test_without_tracking_a_run_is_unavailable_and_soon_found_again(platform: Platform) -> None:
    run_id = await platform.run("disk")
    source = await platform.uri_of(run_id)
    platform.stack.kill("tracking")
    try:
        async with asyncio.timeout(2):
            error = await refusal(listed(platform, run_id))
    finally:
        platform.stack.start("tracking")
        platform.stack.wait_until_ready()

    assert is_refused(error, "TEMPORARILY_UNAVAILABLE", "The tracking service is unavailable; try again.")
    async with asyncio.timeout(FOUND_AGAIN_S):
        while await is_unavailable(listed(platform, run_id)):
            pass
        # The registry, which asks tracking for the run, has a connection of its own.
        while await is_unavailable(platform.version(source, run_id=run_id)):
            pass


@pytest.mark.alone
async def test_without_the_registry_a_version_is_unavailable_and_soon_found_again(platform: Platform) -> None:
    run_id = await platform.run("managed")
    await platform.upload(run_id, "file", b"x")
    name = await platform.version(await platform.uri_of(run_id), run_id=run_id)
    platform.stack.kill("registry")
    try:
        async with asyncio.timeout(2):
            error = await refusal(download_of_version(platform, name, "file"))
        _, of_run = await download(platform, run_id, "file")
    finally:
        platform.stack.start("registry")
        platform.stack.wait_until_ready()

    assert is_refused(error, "TEMPORARILY_UNAVAILABLE", "The registry service is unavailable; try again.")
    assert of_run == b"x"
    async with asyncio.timeout(FOUND_AGAIN_S):
        while await is_unavailable(download_of_version(platform, name, "file")):
            pass


@pytest.mark.alone
async def test_without_its_store_a_run_is_unavailable_and_others_are_not(platform: Platform, lake: EmbeddedS3) -> None:
    away, there = await platform.run("lake"), await platform.run("managed")
    lake.kill()
    try:
        async with asyncio.timeout(20):
            error = await refusal(listed(platform, away))
        assert await listed(platform, there) == []
    finally:
        lake.start()

    assert error.reason == "TEMPORARILY_UNAVAILABLE"
    async with asyncio.timeout(60):
        while await is_unavailable(listed(platform, away)):
            pass
    assert await listed(platform, away) == []
