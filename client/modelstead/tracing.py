"""The trace that an application is in, if it uses OpenTelemetry; nothing here imports it, or needs it installed."""

import sys
from typing import Any

_TRACE_MODULE = "opentelemetry.trace"
_HEADER = "traceparent"


def trace_parent() -> str:
    """Return the span that is open here and recorded, as W3C's `traceparent`; empty without one.

    An application that does not use OpenTelemetry pays for one look into a dictionary.
    """
    module: Any = sys.modules.get(_TRACE_MODULE)
    if module is None:
        return ""
    try:
        found = module.get_current_span().get_span_context()
        if not found.is_valid or not found.trace_flags.sampled:
            return ""
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
    except Exception:  # noqa: BLE001 - somebody else's library, perhaps half imported: no trace is worth a training job
        return ""


def headers() -> dict[str, str]:
    """Return what a request carries so that it belongs to the trace that is open here."""
    found = trace_parent()
    return {_HEADER: found} if found else {}


def metadata(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call with the trace that is open here."""
    return (*pairs, *headers().items())
