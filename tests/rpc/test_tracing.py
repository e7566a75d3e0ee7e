"""One request is one trace: from the client's span through gateway and tracking to each SQL statement."""

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services.local import waiting
from tests.stack import Stack

_TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
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


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the processes started by this test export to, soon after a span ends."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    kept = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("MODELSTEAD_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    yield kept
    server.stop(0).wait()


def test_a_request_is_one_trace_from_the_client_to_sql(collector: Collector, tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        answer = httpx.post(
            f"{stack.url}/api/2.0/mlflow/runs/create",
            json={"experiment_id": "0", "run_name": "a secret name"},
            headers={"traceparent": f"00-{_TRACE_ID}-{_CLIENT_SPAN_ID}-01"},
        )
        assert answer.status_code == 200
        assert waiting.until(lambda: len(_depths(collector)) >= 3, timeout_s=20)

        spans = collector.of_trace(_TRACE_ID)

    assert _depths(collector)[:3] == [
        ("modelstead-gateway", "POST /api/2.0/mlflow/runs/create"),
        ("modelstead-tracking", "modelstead.tracking.v1.RunService/CreateRun"),
        ("modelstead-tracking", "SELECT"),
    ]
    statements = [item.value.string_value for _, span in spans for item in span.attributes if "statement" in item.key]
    assert any("INSERT INTO runs" in statement for statement in statements)
    assert "a secret name" not in "".join(map(str, spans)), "a span tells a statement, never its values"


def _depths(collector: Collector) -> list[tuple[str, str]]:
    """Return service and name of the client's child, then of its first child, and so on."""
    spans = sorted(collector.of_trace(_TRACE_ID), key=lambda item: item[1].start_time_unix_nano)
    chain, parent_id = [], bytes.fromhex(_CLIENT_SPAN_ID)
    while child := next((item for item in spans if item[1].parent_span_id == parent_id), None):
        service, span = child
        chain.append((service, span.name.strip()))
        parent_id = span.span_id
    return chain
