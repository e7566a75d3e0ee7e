"""The service while the object store is away, and after either of them was killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from modelstead.artifacts.v1 import artifacts_pb2 as pb
from modelstead.artifacts.v1 import maintenance_pb2
from services.local import waiting
from tests.artifacts import ArtifactService
from tests.rpc.artifacts.calls import CHUNK, download, messages, refusal, upload
from tests.s3 import EmbeddedS3

_CONTENTS = os.urandom(3 * CHUNK)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """An object store of these tests' own, as they stop it."""
    with EmbeddedS3(tmp_path_factory.mktemp("stopped-store")) as server:
        yield server


@pytest.fixture(scope="module")
def mortal(
    tmp_path_factory: pytest.TempPathFactory, artifacts_url: str, store: EmbeddedS3
) -> Iterator[ArtifactService]:
    bucket = store.s3.make_bucket()
    path = tmp_path_factory.mktemp("mortal")
    where = {"database_url": artifacts_url, "bucket": bucket}
    with ArtifactService(path, s3=store.s3, is_patient=False, **where) as running:
        yield running


def _assert_away(service: ArtifactService, folder: str) -> None:
    """Contents are refused in two seconds, and names are served."""
    for call, request in (
        (service.artifacts.UploadArtifact, messages(f"{folder}/b", _CONTENTS, size=len(_CONTENTS))),
        (service.artifacts.UploadArtifact, messages(f"{folder}/c", b"x", size=1)),
        (service.artifacts.DownloadArtifact, pb.DownloadArtifactRequest(path=f"{folder}/a")),
    ):
        started = time.monotonic()
        assert refusal(call, request)[0] == "TEMPORARILY_UNAVAILABLE"
        assert time.monotonic() - started < 2
    listed = service.artifacts.ListArtifacts(pb.ListArtifactsRequest(path=folder))
    assert [file.path for file in listed.files] == ["a"]
    assert service.is_ready()


def _recovers(service: ArtifactService, folder: str) -> bool:
    try:
        upload(service, f"{folder}/b", _CONTENTS)
    except grpc.RpcError:
        return False
    return download(service, f"{folder}/b").contents == _CONTENTS


@pytest.mark.alone
def test_a_store_that_was_killed_is_away_until_it_is_back(
    mortal: ArtifactService, store: EmbeddedS3, folder: str
) -> None:
    upload(mortal, f"{folder}/a", _CONTENTS)

    store.kill()
    _assert_away(mortal, folder)
    store.start()

    assert waiting.until(lambda: _recovers(mortal, folder), timeout_s=60)
    assert download(mortal, f"{folder}/a").contents == _CONTENTS


@pytest.mark.alone
def test_a_store_that_hangs_is_away_until_it_goes_on(mortal: ArtifactService, store: EmbeddedS3, folder: str) -> None:
    upload(mortal, f"{folder}/a", _CONTENTS)

    store.process.send(signal.SIGSTOP)
    try:
        _assert_away(mortal, folder)
    finally:
        store.process.send(signal.SIGCONT)

    assert waiting.until(lambda: _recovers(mortal, folder), timeout_s=60)


def test_a_service_killed_while_it_stores_leaves_nothing_behind(
    mortal: ArtifactService, store: EmbeddedS3, folder: str, tmp_path: Path
) -> None:
    upload(mortal, f"{folder}/kept", _CONTENTS)
    for size in (50 * CHUNK, None):
        halfway = threading.Event()

        def half(size: int | None = size, halfway: threading.Event = halfway) -> Iterator[pb.UploadArtifactRequest]:
            yield pb.UploadArtifactRequest(path=f"{folder}/half", size=size)
            for _ in range(12):
                yield pb.UploadArtifactRequest(content={"data": os.urandom(CHUNK)})
            halfway.set()
            threading.Event().wait(10)

        call = mortal.artifacts.UploadArtifact.future(half())
        assert halfway.wait(60)
        mortal.kill()
        assert call.exception() is not None
        mortal.start()

    mortal.maintenance.Sweep(maintenance_pb2.SweepRequest(ttl_s=0))
    *findings, _ = mortal.maintenance.CheckObjects(maintenance_pb2.CheckObjectsRequest(deep=True))

    listed = mortal.artifacts.ListArtifacts(pb.ListArtifactsRequest(path=folder))
    assert [file.path for file in listed.files] == ["kept"]
    assert download(mortal, f"{folder}/kept").contents == _CONTENTS
    own = [each for each in findings if not each.finding.paths or folder in each.finding.paths[0]]
    assert own == []
