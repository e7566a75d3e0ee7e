"""What MLflow's own requests carry where the tracking URI is `modelstead://…`: the trace that the application is in."""

from mlflow.tracking import get_tracking_uri
from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider

from modelstead import tracing
from modelstead.runs.connection import GATEWAY


class TraceHeaders(RequestHeaderProvider):
    """The entry point's object. Other platforms are not told of anybody's traces."""

    def in_context(self) -> bool:
        return str(get_tracking_uri()).startswith(GATEWAY) and bool(tracing.trace_parent())

    def request_headers(self) -> dict[str, str]:
        return tracing.headers()
