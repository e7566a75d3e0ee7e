"""Starts traces and metrics for a process; off until an address says where they go."""

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from services.common import memory, tracing
from services.common.settings import Address

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CALLS = Counter("modelstead_calls", "Calls answered, by method and outcome.", ["method", "code"])
CALL_SECONDS = Histogram("modelstead_call_seconds", "Time to answer a call.", ["method"], buckets=_LATENCY_BUCKETS_S)
# How long a watch lasts says nothing, so it is not among the times to answer.
WATCHES = Gauge("modelstead_watches", "Watches that are open, by method.", ["method"])
# What asks for more replicas. Watches and streams that go both ways stay, and say nothing of how much there is to do.
IN_FLIGHT = Gauge("modelstead_calls_in_flight", "Calls under way that end by themselves.")
MEMORY_LIMIT = Gauge(
    "modelstead_memory_limit_bytes", "What the container may have of memory; infinite without a limit."
)
MEMORY_LIMIT.set_function(memory.limit_bytes)


class Outcomes:
    """The metrics of one method, which are looked up by their labels once."""

    def __init__(self, name: str, *, is_timed: bool) -> None:
        self._name = name
        self._seconds = CALL_SECONDS.labels(name) if is_timed else None
        self._count_of: dict[str, Counter] = {}

    def add(self, code: str, duration_s: float, span: trace.Span | None = None) -> None:
        """Count a call. If its span is kept, a time to answer is told with the trace that it is of."""
        count = self._count_of.get(code)
        if count is None:
            count = self._count_of[code] = CALLS.labels(self._name, code)
        count.inc()
        if self._seconds is not None:
            found = tracing.ids(span)
            self._seconds.observe(duration_s, {"trace_id": found["trace_id"]} if found else None)


def start(service: str, *, otlp_endpoint: str, metrics_listen: Address | None) -> None:
    """Export spans to an OTLP gRPC endpoint and serve Prometheus metrics, each only if its address is given.

    Without an endpoint no spans are recorded, and trace context is still passed on.
    """
    if otlp_endpoint:
        # These cost 10 MB and 0.2 s, which a process that exports nothing does not pay.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=Resource.create({"service.name": f"modelstead-{service}"}))
        provider.sampler = tracing.NoLonelyCalls(provider.sampler)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint, insecure=True)))
        trace.set_tracer_provider(provider)
        # Statements with their placeholders, never with values; SQLAlchemy's go the same way.
        PsycopgInstrumentor().instrument()
    else:
        # So that nobody looks in the environment, at each call, whether there is another provider.
        trace.set_tracer_provider(trace.NoOpTracerProvider())
    if metrics_listen is not None:
        start_http_server(metrics_listen.port, addr=metrics_listen.host)
