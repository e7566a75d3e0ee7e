"""What an application does is one trace: from its span through gateway and services to each statement of SQL and each
request to S3.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator, Sequence
from concurrent import futures
from pathlib import Path

import grpc
import httpx
import pytest
from mlflow import MlflowClient
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from modelstead.mlflow_plugin import tracking as mlflow_plugin
from modelstead.runs.process import Process
from modelstead.runs.run import start_run
from services.local import waiting
from tests.stack import Stack

_CLIENT_SPAN_ID = "b7ad6b7169203331"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that are exported to it, each under the name of its service."""

    def __init__(self) -> None:
        self._spans: list[tuple[str, Span]] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource_spans in request.resource_spans:
            names = {item.key: item.value.string_value for item in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                self._spans += [(names["service.name"], span) for span in scope_spans.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of_trace(self, trace_id: str) -> list[tuple[str, Span]]:
        """Return (service, span) of one trace."""
        return [(service, span) for service, span in list(self._spans) if span.trace_id.hex() == trace_id]

    def names(self) -> set[str]:
        """Return what the spans are called."""
        return {span.name.strip() for _, span in list(self._spans)}

    def span_ids(self) -> set[bytes]:
        """Return the ids of the spans."""
        return {span.span_id for _, span in list(self._spans)}

    def lonely_calls(self) -> set[str]:
        """Return what the spans of calls of others are called that are nobody's child."""
        calls = [span for _, span in list(self._spans) if span.kind == Span.SPAN_KIND_CLIENT]
        return {span.name.strip() for span in calls if not span.parent_span_id}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """A collector that the processes started by these tests export to, soon after a span ends."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    kept = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELSTEAD_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield kept
    server.stop(0).wait()


@pytest.fixture(scope="module")
def stack(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    lines = {"MODELSTEAD_LOG_FORMAT": "json", "MODELSTEAD_LOG_LEVEL": "info"}
    with Stack(tmp_path_factory.mktemp("stack"), extra={"gateway": lines, "tracking": lines}) as running:
        yield running


@pytest.fixture
def trace_id() -> str:
    """The trace of the application in this test."""
    return uuid.uuid4().hex


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Process]:
    """What a process that has just begun has of the client: nothing."""
    fresh = Process()
    fresh.watches_exit = False
    monkeypatch.setattr("modelstead.runs.run.CURRENT", fresh)
    monkeypatch.setattr("modelstead.mlflow_plugin.tracking.CURRENT", fresh)
    monkeypatch.setenv("MODELSTEAD_SPOOL_DIR", str(tmp_path / "spool"))
    yield fresh
    fresh.finish("FINISHED")


def test_a_request_is_one_trace_from_the_client_to_sql(collector: Collector, stack: Stack, trace_id: str) -> None:
    answer = httpx.post(
        f"{stack.url}/api/2.0/mlflow/runs/create",
        timeout=30,
        json={"experiment_id": "0", "run_name": "a secret name"},
        headers={"traceparent": f"00-{trace_id}-{_CLIENT_SPAN_ID}-01"},
    )
    assert answer.status_code == 200

    chain = _chain(
        collector,
        trace_id,
        ("modelstead-gateway", "POST /api/2.0/mlflow/runs/create"),
        ("modelstead-tracking", "modelstead.tracking.v1.RunService/CreateRun"),
        ("modelstead-tracking", "WITH"),
    )

    assert "INSERT INTO runs" in _statement(chain[-1])
    spans = "".join(map(str, collector.of_trace(trace_id)))
    assert "a secret name" not in spans, "a span tells a statement, never its values"


def test_a_batch_of_rest_is_one_trace_through_the_commit_it_shares(
    collector: Collector, stack: Stack, trace_id: str
) -> None:
    run_id = _new_run(stack)
    httpx.post(
        f"{stack.url}/api/2.0/mlflow/runs/log-batch",
        timeout=30,
        json={"run_id": run_id, "metrics": [{"key": "loss", "value": 1, "timestamp": 1, "step": 1}]},
        headers={"traceparent": f"00-{trace_id}-{_CLIENT_SPAN_ID}-01"},
    ).raise_for_status()

    _chain(
        collector,
        trace_id,
        ("modelstead-gateway", "POST /api/2.0/mlflow/runs/log-batch"),
        ("modelstead-tracking", "modelstead.tracking.v1.RunService/LogBatch"),
        ("modelstead-tracking", "commit log_batch"),
        ("modelstead-tracking", "INSERT"),
    )


def test_a_file_is_one_trace_to_sql_and_to_s3(collector: Collector, stack: Stack, trace_id: str) -> None:
    httpx.put(
        f"{stack.url}/api/2.0/mlflow-artifacts/artifacts/a/b.txt",
        timeout=30,
        content=b"contents" * 100_000,
        headers={"traceparent": f"00-{trace_id}-{_CLIENT_SPAN_ID}-01"},
    ).raise_for_status()

    service = "modelstead-artifacts"
    upload = (service, "modelstead.artifacts.v1.ArtifactService/UploadArtifact")
    gateway = ("modelstead-gateway", "PUT /api/2.0/mlflow-artifacts/artifacts/{path=**}")
    put = _chain(collector, trace_id, gateway, upload, (service, "S3 PUT"))[-1]
    _chain(collector, trace_id, gateway, upload, (service, "commit files"), (service, "INSERT"))

    told = {item.key: item.value for item in put.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert "X-Amz" not in str(put), "a span tells where an object is, never the signature that opens it"


def test_what_training_logs_is_in_the_trace_of_the_span_that_is_open(
    collector: Collector, stack: Stack, trace_id: str, process: Process
) -> None:
    with _span_is_open(trace_id):
        run = start_run(stack.grpc_address)
        run.log({"loss": 0.5})
    assert run.flush(60)

    chain = _chain(
        collector,
        trace_id,
        ("modelstead-tracking", "IngestStream batch"),
        ("modelstead-tracking", "commit ingest"),
        ("modelstead-tracking", "INSERT"),
    )

    [stream] = [link.span_id for link in chain[0].links]
    run.end()
    process.finish("FINISHED")
    assert waiting.until(lambda: stream in collector.span_ids(), timeout_s=60), "the stream's own span is linked"


def test_mlflow_with_the_plugin_is_in_the_trace_of_the_span_that_is_open(
    collector: Collector, stack: Stack, trace_id: str, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "modelstead://" + stack.url.removeprefix("http://")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    # What another test of this process has set would count instead.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    store = mlflow_plugin.tracking_store(uri)

    with _span_is_open(trace_id):
        store.create_experiment("traced")
    with _span_is_open(trace_id):
        MlflowClient(stack.url).search_experiments()

    _chain(
        collector,
        trace_id,
        ("modelstead-gateway", "POST /api/2.0/mlflow/experiments/create"),
        ("modelstead-tracking", "modelstead.tracking.v1.ExperimentService/CreateExperiment"),
    )


def test_what_is_done_for_nobody_is_not_recorded(collector: Collector, stack: Stack, trace_id: str) -> None:
    answer = httpx.get(f"{stack.url}/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"}, timeout=30)
    answer.raise_for_status()

    # Readiness is looked at each second: by now it would be there.
    assert waiting.until(lambda: "SELECT" in collector.names(), timeout_s=60)
    assert collector.lonely_calls() == set()


def test_the_lines_of_a_call_name_its_trace(stack: Stack, trace_id: str) -> None:
    httpx.get(
        f"{stack.url}/api/2.0/mlflow/experiments/get",
        timeout=30,
        params={"experiment_id": "0"},
        headers={"traceparent": f"00-{trace_id}-{_CLIENT_SPAN_ID}-01"},
    ).raise_for_status()

    for service, message in (("gateway", "request"), ("tracking", "call")):
        assert waiting.until(lambda: message in _logged(stack, service, trace_id), timeout_s=60)  # noqa: B023


def _logged(stack: Stack, service: str, trace_id: str) -> set[str]:
    """Return what the lines of a trace say."""
    # What is being written may be there in part.
    lines = stack.process(service).child.log.read_bytes().rpartition(b"\n")[0].decode().splitlines()
    read = [json.loads(line) for line in lines if trace_id in line and line.startswith("{")]
    return {line["message"] for line in read if line["trace_id"] == trace_id and len(line["span_id"]) == 16}


def _new_run(stack: Stack) -> str:
    answer = httpx.post(f"{stack.url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=30)
    return str(answer.json()["run"]["info"]["run_id"])


@contextlib.contextmanager
def _span_is_open(trace_id: str) -> Iterator[None]:
    """Do as an application does that uses OpenTelemetry."""
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    context = trace.SpanContext(int(trace_id, 16), int(_CLIENT_SPAN_ID, 16), is_remote=False, trace_flags=flags)
    with trace.use_span(trace.NonRecordingSpan(context)):
        yield


def _chain(collector: Collector, trace_id: str, *expected: tuple[str, str]) -> list[Span]:
    """Wait for spans, each the child of the one before and the first one of the client's, and return them."""
    found: list[Span] = []

    def is_there() -> bool:
        found[:] = _descend(collector.of_trace(trace_id), bytes.fromhex(_CLIENT_SPAN_ID), expected)
        return len(found) == len(expected)

    assert waiting.until(is_there, timeout_s=60), [
        (service, span.name, span.span_id.hex(), span.parent_span_id.hex())
        for service, span in collector.of_trace(trace_id)
    ]
    return found


def _descend(spans: list[tuple[str, Span]], parent_id: bytes, expected: Sequence[tuple[str, str]]) -> list[Span]:
    if not expected:
        return []
    paths = [
        [span, *_descend(spans, span.span_id, expected[1:])]
        for service, span in spans
        if span.parent_span_id == parent_id and (service, span.name.strip()) == expected[0]
    ]
    return max(paths, key=len, default=[])


def _statement(span: Span) -> str:
    return "".join(item.value.string_value for item in span.attributes if "statement" in item.key)
