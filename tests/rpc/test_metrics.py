"""What the services count, as Prometheus reads it from a platform that is used."""

import uuid
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest

from modelstead.tracking.v1 import ingest_pb2 as pb
from modelstead.tracking.v1 import ingest_pb2_grpc as pb_grpc
from services.local import waiting
from tests import ingest
from tests.metrics import SERVICES, Scraper
from tests.stack import Stack

WAIT_S = 60


@pytest.fixture(scope="module")
def scraper() -> Scraper:
    return Scraper()


@pytest.fixture(scope="module")
def stack(scraper: Scraper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # Spans are recorded, and nobody takes them.
    extra = {name: {**env, "MODELSTEAD_OTLP_ENDPOINT": "http://127.0.0.1:9"} for name, env in scraper.extra.items()}
    with Stack(tmp_path_factory.mktemp("metrics"), extra=extra) as running:
        yield running


@pytest.fixture
def stub(stack: Stack) -> Iterator[pb_grpc.IngestServiceStub]:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        yield pb_grpc.IngestServiceStub(channel)


@pytest.fixture
def run_id(stack: Stack) -> str:
    answer = httpx.post(f"{stack.url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=30)
    return str(answer.raise_for_status().json()["run"]["info"]["run_id"])


def _becomes(read: Callable[[], float], value: float) -> bool:
    return waiting.until(lambda: read() == value, timeout_s=WAIT_S)


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "gateway"])
def test_every_service_tells_of_its_connections_and_tables(stack: Stack, scraper: Scraper, service: str) -> None:
    assert scraper.value(service, "modelstead_database_connections_max") > 0
    assert scraper.samples(service, "modelstead_database_connections_used")
    assert waiting.until(lambda: scraper.value(service, "modelstead_database_wait_seconds_count") > 0, timeout_s=WAIT_S)
    assert scraper.value(service, "modelstead_tables_bytes") > 0


def test_what_is_stored_is_counted_with_its_wait_and_its_group(
    stub: pb_grpc.IngestServiceStub, scraper: Scraper, run_id: str
) -> None:
    names = ("modelstead_points_stored_total", "modelstead_ack_seconds_count", "modelstead_commit_group_size_sum")
    labels: dict[str, dict[str, str]] = {name: {"what": "ingest"} for name in names[1:]}
    before = [scraper.value("tracking", name, **labels.get(name, {})) for name in names]

    batch = ingest.batch(1, run_id, ingest.series("loss", 0, 7))
    stub.IngestBatch(pb.IngestBatchRequest(session=pb.Session(session_id=uuid.uuid4().hex), batch=batch), timeout=30)

    after = [scraper.value("tracking", name, **labels.get(name, {})) for name in names]
    assert [new - old for new, old in zip(after, before, strict=True)] == [7, 1, 1]


def test_a_batch_that_is_refused_is_counted_once_however_often_it_comes(
    stub: pb_grpc.IngestServiceStub, scraper: Scraper
) -> None:
    session = pb.Session(session_id=uuid.uuid4().hex)
    batch = ingest.batch(1, uuid.uuid4().hex, ingest.series("loss", 0, 1))
    refused = ("tracking", "modelstead_batches_refused_total")
    before = scraper.value(*refused, reason="RESOURCE_DOES_NOT_EXIST")

    for _ in range(2):
        answer = stub.IngestBatch(pb.IngestBatchRequest(session=session, batch=batch), timeout=30)
        assert answer.rejection.reason == "RESOURCE_DOES_NOT_EXIST"

    assert scraper.value(*refused, reason="RESOURCE_DOES_NOT_EXIST") == before + 1


def test_what_clients_have_not_sent_is_told_while_they_are_there(
    stub: pb_grpc.IngestServiceStub, stack: Stack, scraper: Scraper, run_id: str
) -> None:
    told: list[dict[str, int]] = []

    def requests() -> Iterator[pb.IngestStreamRequest]:
        yield pb.IngestStreamRequest(open=pb.Session(session_id=uuid.uuid4().hex))
        backlog = pb.Backlog(point_count=12_345)
        backlog.age.FromMilliseconds(67_500)
        yield pb.IngestStreamRequest(batch=ingest.batch(1, run_id, ingest.series("loss", 0, 1)), backlog=backlog)
        assert _becomes(lambda: scraper.value("tracking", "modelstead_client_unsent_points"), 12_345)
        assert scraper.value("tracking", "modelstead_client_unsent_seconds") == 67.5
        assert scraper.value("tracking", "modelstead_ingest_streams") == 1
        status = f"{stack.url}/api/2.0/mlflow/status/tracking"
        assert waiting.until(lambda: httpx.get(status, timeout=30).json()["unsent_point_count"] > 0, timeout_s=WAIT_S)
        told.append(httpx.get(status, timeout=30).json())

    assert [answer.acknowledged_sequence for answer in stub.IngestStream(requests(), timeout=240)][-1] == 1

    assert [(each["unsent_point_count"], each["unsent_age_ms"]) for each in told] == [(12_345, 67_500)]
    assert _becomes(lambda: scraper.value("tracking", "modelstead_client_unsent_points"), 0)


def test_a_lookup_is_answered_by_the_database_and_then_by_memory(stack: Stack, scraper: Scraper) -> None:
    api, name = f"{stack.url}/api/2.0/mlflow", f"model {uuid.uuid4().hex}"
    httpx.post(f"{api}/registered-models/create", json={"name": name}, timeout=30).raise_for_status()
    created = httpx.post(f"{api}/model-versions/create", json={"name": name, "source": "s3://b/k"}, timeout=30)
    created.raise_for_status()

    def hits() -> float:
        answer = httpx.get(f"{api}/registered-models/resolve", params={"name": name, "version": "1"}, timeout=30)
        answer.raise_for_status()
        return scraper.value("registry", "modelstead_lookups_total", answered_by="memory")

    before = hits()
    assert waiting.until(lambda: hits() > before, timeout_s=WAIT_S)
    assert scraper.value("registry", "modelstead_lookups_total", answered_by="database") > 0


def test_contents_are_counted_both_ways(stack: Stack, scraper: Scraper) -> None:
    url = f"{stack.url}/api/2.0/mlflow-artifacts/artifacts/{uuid.uuid4().hex}/b.bin"
    before = [scraper.value("artifacts", f"modelstead_artifact_{way}_bytes_total") for way in ("in", "out")]

    httpx.put(url, content=b"x" * 1000, timeout=30).raise_for_status()
    assert len(httpx.get(url, timeout=30).content) == 1000

    after = [scraper.value("artifacts", f"modelstead_artifact_{way}_bytes_total") for way in ("in", "out")]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1000, 1000]
    assert _becomes(lambda: scraper.value("artifacts", "modelstead_object_store_answers"), 1)
    # How long they take is a matter of their length.
    for service in ("gateway", "artifacts"):
        calls = {each.labels["method"] for each in scraper.samples(service, "modelstead_calls_total") if each.value}
        timed = {each.labels["method"] for each in scraper.samples(service, "modelstead_call_seconds_count")}
        moving = {method for method in calls if method.startswith("PUT ") or method.endswith(("load", "loadArtifact"))}
        assert moving
        assert not moving & timed


def test_the_gateway_tells_what_is_in_flight(stack: Stack, scraper: Scraper) -> None:
    kinds = {sample.labels["kind"] for sample in scraper.samples("gateway", "modelstead_gateway_requests_in_flight")}

    assert kinds == {"request", "watch"}


@pytest.mark.parametrize(
    ("service", "method"),
    [
        ("gateway", "GET /api/2.0/mlflow/experiments/get"),
        ("tracking", "modelstead.tracking.v1.ExperimentService/GetExperiment"),
    ],
)
def test_a_time_to_answer_names_the_trace_that_it_is_of(
    stack: Stack, scraper: Scraper, service: str, method: str
) -> None:
    trace_id = uuid.uuid4().hex
    httpx.get(
        f"{stack.url}/api/2.0/mlflow/experiments/get",
        params={"experiment_id": "0"},
        headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"},
        timeout=30,
    ).raise_for_status()

    def traces() -> set[str]:
        buckets = scraper.samples(service, "modelstead_call_seconds_bucket", method=method)
        return {bucket.exemplar.labels["trace_id"] for bucket in buckets if bucket.exemplar}

    # It is counted once the answer is sent.
    assert waiting.until(lambda: trace_id in traces(), timeout_s=WAIT_S)


def test_streams_that_last_are_not_among_the_times_to_answer(
    stub: pb_grpc.IngestServiceStub, scraper: Scraper, run_id: str
) -> None:
    requests = [
        pb.IngestStreamRequest(open=pb.Session(session_id=uuid.uuid4().hex)),
        pb.IngestStreamRequest(batch=ingest.batch(1, run_id, ingest.series("loss", 0, 1))),
    ]
    list(stub.IngestStream(iter(requests), timeout=60))

    method = "modelstead.tracking.v1.IngestService/IngestStream"
    calls = "modelstead_calls_total"
    assert waiting.until(lambda: scraper.value("tracking", calls, method=method) > 0, timeout_s=WAIT_S)
    assert not scraper.samples("tracking", "modelstead_call_seconds_count", method=method)
