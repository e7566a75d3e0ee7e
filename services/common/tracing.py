"""Spans: of calls that are served, of work for several callers at once, in other threads, at other servers. Where no
span is recorded, none of it costs anything.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ParamSpec, TypeVar

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

tracer = trace.get_tracer("modelstead")

TRACE_PARENT_LENGTH_MAX = 128
# As the SDK has it by default; what is over is not linked.
_LINKS_MAX = 128
_RECORD_NOTHING = (trace.NoOpTracerProvider, trace.ProxyTracerProvider)
_OF_TEXT = TraceContextTextMapPropagator()

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NoLonelyCalls(Sampler):
    """Leaves out what is sent to others for nobody's sake, such as the statements of a look-out that comes every
    second; everything else is as `inner` says.
    """

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(
        self,
        parent_context: contexts.Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Mapping[str, object] | None = None,
        links: Sequence[Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> SamplingResult:
        if kind is SpanKind.CLIENT and not trace.get_current_span(parent_context).get_span_context().is_valid:
            return SamplingResult(Decision.DROP)
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)  # type: ignore[arg-type]

    def get_description(self) -> str:
        return f"NoLonelyCalls({self._inner.get_description()})"


def serving(name: str, carrier: Mapping[str, str]) -> contextlib.AbstractContextManager[Span]:
    """Open the span of a call that is served, in the trace that the caller's headers or metadata name.

    Where no span is recorded and no trace is named there is nothing to open, and nothing to pass on.
    """
    if "traceparent" not in carrier and not records():
        return contextlib.nullcontext(trace.INVALID_SPAN)
    return tracer.start_as_current_span(name, context=propagate.extract(carrier), kind=SpanKind.SERVER)


def records() -> bool:
    """Whether this process records spans at all."""
    return not isinstance(trace.get_tracer_provider(), _RECORD_NOTHING)


def recorded() -> Span | None:
    """Return the span that is open here, if it is recorded."""
    if not records():
        return None
    span = trace.get_current_span()
    return span if span.is_recording() else None


def ids(span: Span | None) -> dict[str, str]:
    """Return what a log line or an exemplar says of a span: nothing if it is none that is recorded and kept."""
    found = span.get_span_context() if span is not None else None
    if found is None or not found.is_valid or not found.trace_flags.sampled:
        return {}
    return {"trace_id": trace.format_trace_id(found.trace_id), "span_id": trace.format_span_id(found.span_id)}


def current_ids() -> dict[str, str]:
    """Return what a log line says of the span that is open here."""
    return ids(trace.get_current_span())


def inject() -> dict[str, str]:
    """Return the headers that carry the current trace context to the next service."""
    carrier: dict[str, str] = {}
    if trace.get_current_span().get_span_context().is_valid:
        propagate.inject(carrier)
    return carrier


def begin_batch(name: str, trace_parent: str) -> Span | None:
    """Begin the span of one of the many things that a stream brings; whoever calls this ends it.

    It belongs to the trace that the sender names, as W3C's `traceparent` of at most 128 characters, or to one of its
    own, and is linked to the span of the stream.
    """
    if not records():
        return None
    stream = recorded()
    named = {"traceparent": trace_parent} if len(trace_parent) <= TRACE_PARENT_LENGTH_MAX else {}
    sender = _OF_TEXT.extract(named, contexts.Context())
    span = tracer.start_span(name, context=sender, kind=SpanKind.CONSUMER, links=_links([stream]))
    return span if span.is_recording() else None


def begin_call(name: str, attributes: Mapping[str, str]) -> Span | None:
    """Begin the span of something that is asked of another server, within the one that is open here; whoever calls this
    ends it.
    """
    if recorded() is None:
        return None
    return tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)


@contextlib.contextmanager
def within(span: Span | None) -> Iterator[None]:
    """Have a span be the open one for the length of the block; it is not ended."""
    if span is None:
        yield
        return
    with trace.use_span(span, end_on_exit=False):
        yield


@contextlib.contextmanager
def shared(name: str, spans: Iterable[Span | None]) -> Iterator[None]:
    """Open the span of work that is done for several at once: within the first one's, and linked to the others."""
    known = [span for span in spans if span is not None]
    if not known:
        yield
        return
    with tracer.start_as_current_span(name, context=trace.set_span_in_context(known[0]), links=_links(known[1:])):
        yield


@contextlib.contextmanager
def linked(name: str, spans: Iterable[Span | None]) -> Iterator[None]:
    """Open a span in a trace of its own for work that goes on for as long as several want it, linked to theirs."""
    links = _links(spans)
    if not links:
        yield
        return
    with tracer.start_as_current_span(name, context=contexts.Context(), links=links):
        yield


def carried(call: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a call that has the span that is open here also in another thread."""
    if recorded() is None:
        return call
    return functools.partial(contextvars.copy_context().run, call)


def _links(spans: Iterable[Span | None]) -> list[Link]:
    known = [span.get_span_context() for span in spans if span is not None]
    return [Link(each) for each in known[:_LINKS_MAX]]
