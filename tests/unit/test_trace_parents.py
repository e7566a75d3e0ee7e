"""The trace that an application is in, on what it logs."""

import subprocess
import sys

from opentelemetry import trace

from modelstead import tracing
from modelstead.runs import batches
from modelstead.runs.batches import Control
from modelstead.tracking.v1 import ingest_pb2 as pb

_FIRST, _SECOND = (f"00-{1:032x}-{number:016x}-01" for number in (1, 2))


def _span(flags: int) -> trace.Span:
    return trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(flags)))


def test_a_batch_names_the_newest_span_that_it_was_logged_in() -> None:
    rows: list[batches.Row | Control] = [
        ("r", 0, 0, ("loss",), (1.0,), _FIRST),
        ("r", 1, 0, ("loss",), (1.0,), _SECOND),
        ("r", 2, 0, ("loss",), (1.0,), ""),
        Control("other", tags={"a": "b"}),
    ]

    [points, tags] = [pb.Batch.FromString(batch.payload) for batch in batches.of(rows)]

    assert points.trace_parent == _SECOND
    assert not tags.HasField("trace_parent")


def test_a_span_that_is_kept_is_named() -> None:
    with trace.use_span(_span(trace.TraceFlags.SAMPLED)):
        assert tracing.headers() == {"traceparent": _SECOND}


def test_a_span_that_is_not_kept_is_not_named() -> None:
    with trace.use_span(_span(trace.TraceFlags.DEFAULT)):
        assert tracing.headers() == {}


def test_no_span_is_named_where_none_is_open() -> None:
    assert tracing.headers() == {}


def test_the_client_does_not_load_opentelemetry() -> None:
    code = "import sys, modelstead.runs.run, modelstead.resolver.resolver; print('opentelemetry' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "False\n"
