"""What each service tells of itself while it is used: over gRPC, on the real platform."""

from __future__ import annotations

import queue
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from modelstead.artifacts.v1 import artifacts_pb2, artifacts_pb2_grpc
from modelstead.artifacts.v1 import status_pb2 as artifacts_pb
from modelstead.artifacts.v1 import status_pb2_grpc as artifacts_grpc
from modelstead.registry.v1 import lookups_pb2, lookups_pb2_grpc, registered_models_pb2, registered_models_pb2_grpc
from modelstead.registry.v1 import status_pb2 as registry_pb
from modelstead.registry.v1 import status_pb2_grpc as registry_grpc
from modelstead.tracking.v1 import ingest_pb2, ingest_pb2_grpc, metrics_pb2, metrics_pb2_grpc, runs_pb2, runs_pb2_grpc
from modelstead.tracking.v1 import status_pb2 as tracking_pb
from modelstead.tracking.v1 import status_pb2_grpc as tracking_grpc
from services.local import waiting
from tests import ingest
from tests.stack import Stack

WAIT_S = 60
CALL: dict[str, Any] = {"timeout": 30}


@dataclass(frozen=True)
class Platform:
    """Channels to the three services, and how each of them is."""

    tracking: grpc.Channel
    registry: grpc.Channel
    artifacts: grpc.Channel

    def tracking_status(self) -> tracking_pb.GetTrackingStatusResponse:
        return tracking_grpc.TrackingStatusServiceStub(self.tracking).GetTrackingStatus(
            tracking_pb.GetTrackingStatusRequest(), **CALL
        )

    def registry_status(self) -> registry_pb.GetRegistryStatusResponse:
        return registry_grpc.RegistryStatusServiceStub(self.registry).GetRegistryStatus(
            registry_pb.GetRegistryStatusRequest(), **CALL
        )

    def artifacts_status(self) -> artifacts_pb.GetArtifactsStatusResponse:
        return artifacts_grpc.ArtifactsStatusServiceStub(self.artifacts).GetArtifactsStatus(
            artifacts_pb.GetArtifactsStatusRequest(), **CALL
        )

    def new_run(self) -> str:
        request = runs_pb2.CreateRunRequest(experiment_id="0")
        return str(runs_pb2_grpc.RunServiceStub(self.tracking).CreateRun(request, **CALL).run.info.run_id)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Of these tests' own: what is counted here, nobody else adds to or takes away."""
    with Stack(tmp_path_factory.mktemp("status")) as running:
        yield running


@pytest.fixture(scope="module")
def platform(stack: Stack) -> Iterator[Platform]:
    with (
        grpc.insecure_channel(stack.grpc_address) as tracking,
        grpc.insecure_channel(stack.registry_address) as registry,
        grpc.insecure_channel(stack.artifacts_address) as artifacts,
    ):
        yield Platform(tracking, registry, artifacts)


def test_every_service_tells_who_it_is_and_what_its_schema_takes(platform: Platform) -> None:
    now = datetime.now(UTC)

    answers = {
        "runs": platform.tracking_status(),
        "events": platform.registry_status(),
        "blobs": platform.artifacts_status(),
    }

    assert len({answer.process.replica for answer in answers.values()}) == 3
    for table, answer in answers.items():
        assert answer.process.version
        assert answer.process.schema_revision
        assert answer.process.start_time.ToDatetime(UTC) < now
        assert table in {each.name for each in answer.tables}
        assert answer.table_bytes == sum(each.byte_count for each in answer.tables) > 0


def test_points_are_counted_when_they_are_committed_whichever_way_they_come(platform: Platform) -> None:
    run_id = platform.new_run()
    before = platform.tracking_status()
    sent = ingest.batch(1, run_id, ingest.series("m", 0, 50))
    refused = ingest.batch(2, "no-such-run", ingest.series("m", 0, 70))
    point = metrics_pb2.LogMetricRequest(run_id=run_id, key="n", value=1, timestamp=1, step=1)

    def is_rated() -> bool:
        """Whether points that came just now have a rate, which they lose in ten seconds."""
        metrics_pb2_grpc.MetricServiceStub(platform.tracking).LogMetric(point, **CALL)
        return platform.tracking_status().points_per_second > 0

    requests = [ingest.opening(ingest.session()), ingest.bringing(sent), ingest.bringing(refused)]
    answers = list(ingest_pb2_grpc.IngestServiceStub(platform.tracking).IngestStream(iter(requests), **CALL))
    metrics_pb2_grpc.MetricServiceStub(platform.tracking).LogMetric(point, **CALL)

    assert answers[-1].acknowledged_sequence == 2
    assert waiting.until(lambda: platform.tracking_status().point_count > before.point_count + 50, timeout_s=WAIT_S)
    after = platform.tracking_status()
    assert after.point_count < before.point_count + 51 + 70
    assert after.active_run_count >= 1
    assert waiting.until(is_rated, timeout_s=WAIT_S)


def test_a_stream_and_its_session_count_while_they_are_open(platform: Platform) -> None:
    requests: queue.SimpleQueue[ingest_pb2.IngestStreamRequest | None] = queue.SimpleQueue()
    requests.put(ingest.opening(ingest.session()))

    call = ingest_pb2_grpc.IngestServiceStub(platform.tracking).IngestStream(iter(requests.get, None), timeout=120)
    next(call)
    is_counted = waiting.until(lambda: platform.tracking_status().stream_count >= 1, timeout_s=WAIT_S)
    during = platform.tracking_status()
    requests.put(None)
    list(call)

    assert is_counted
    assert during.stream_count >= during.session_count >= 1
    assert during.bytes_under_way_max > 0
    assert waiting.until(lambda: platform.tracking_status().stream_count < during.stream_count, timeout_s=WAIT_S)


def test_points_wait_to_be_sealed_and_then_do_not(platform: Platform) -> None:
    run_id = platform.new_run()
    stub = ingest_pb2_grpc.IngestServiceStub(platform.tracking)

    ended = ingest_pb2.EndRun(status=ingest_pb2.EndRun.FINISHED, end_time=1)
    batch = ingest.batch(1, run_id, ingest.series("m", 0, 10), end=ended)
    stub.IngestBatch(ingest_pb2.IngestBatchRequest(session=ingest.session(), batch=batch), **CALL)

    assert waiting.until(lambda: platform.tracking_status().unsealed_run_count == 0, timeout_s=WAIT_S)
    assert platform.tracking_status().seal_lag_ms == 0


def test_models_events_and_watches_are_counted(platform: Platform) -> None:
    before = platform.registry_status()
    name = uuid.uuid4().hex
    models = registered_models_pb2_grpc.RegisteredModelServiceStub(platform.registry)

    models.CreateRegisteredModel(registered_models_pb2.CreateRegisteredModelRequest(name=name), **CALL)
    call = lookups_pb2_grpc.LookupServiceStub(platform.registry).WatchModels(
        lookups_pb2.WatchModelsRequest(names=[name]), timeout=120
    )
    next(call)
    is_watched = waiting.until(lambda: platform.registry_status().watch_count > 0, timeout_s=WAIT_S)
    during = platform.registry_status()
    call.cancel()

    assert is_watched
    assert waiting.until(lambda: platform.registry_status().watch_count < during.watch_count, timeout_s=WAIT_S)
    # Statistics of the database follow within some seconds.
    assert waiting.until(lambda: platform.registry_status().model_count > before.model_count, timeout_s=WAIT_S)
    assert waiting.until(lambda: platform.registry_status().event_count > before.event_count, timeout_s=WAIT_S)
    assert waiting.until(lambda: platform.registry_status().hears_of_changes, timeout_s=WAIT_S)


def test_objects_and_their_bytes_are_counted(platform: Platform) -> None:
    before = platform.artifacts_status()
    contents = uuid.uuid4().bytes * 1000

    _upload(platform, contents)

    stored = before.object_bytes + len(contents)
    assert waiting.until(lambda: platform.artifacts_status().object_bytes >= stored, timeout_s=WAIT_S)
    assert platform.artifacts_status().object_bytes == stored
    assert waiting.until(lambda: platform.artifacts_status().object_count > before.object_count, timeout_s=WAIT_S)

    def is_rated() -> bool:
        """Whether bytes that came just now have a rate, which they lose in ten seconds."""
        _upload(platform, uuid.uuid4().bytes)
        return platform.artifacts_status().bytes_in_per_second > 0

    assert waiting.until(is_rated, timeout_s=WAIT_S)


def _upload(platform: Platform, contents: bytes) -> None:
    first = artifacts_pb2.UploadArtifactRequest(path=f"status/{uuid.uuid4().hex}", size=len(contents))
    first.content.data = contents
    artifacts_pb2_grpc.ArtifactServiceStub(platform.artifacts).UploadArtifact(iter([first]), **CALL)
