"""Every bound that the gateway puts on what it is sent, on how long it waits and on what it holds at once.

Past a bound the answer is 400, 408, 413, 429 or 431 and names it. Bounds on what a request means (how many metrics, how
long a name) are the services'.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True, slots=True)
class BodyLimit:
    """The most bytes that a request's body may have, and MLflow's own words for it where it has such a limit.

    `text` takes the size sent as `{size}`; a request past a limit with a text is answered 400, as MLflow does.
    """

    bytes_max: int
    text: str | None = None


BODY_LIMIT = BodyLimit(bytes_max=32 * 1024 * 1024)

# By the full name of the request's message, wherever it is routed.
BODY_LIMITS: Mapping[str, BodyLimit] = MappingProxyType(
    {
        # As MLflow 3.18, utils/validation.py.
        "modelstead.tracking.v1.LogBatchRequest": BodyLimit(
            bytes_max=1_000_000,
            text="Batched logging API requests must be at most 1000000 bytes, got a request of size {size}.",
        ),
    }
)

# Bodies of all requests that are being received or answered, together.
BODIES_BYTES_MAX = 256 * 1024 * 1024
# The request line and all headers.
HEAD_BYTES_MAX = 96 * 1024
# A search over many runs or experiments names them all in the query string.
QUERY_BYTES_MAX = 64 * 1024
PATH_BYTES_MAX = 8 * 1024
NESTING_MAX = 100

# How much of a wrong value is quoted back, in characters.
QUOTED_LENGTH_MAX = 200

REQUESTS_MAX = 512
REQUESTS_PER_CALLER_MAX = 384
OVERLOAD_RETRY_AFTER_S = 1.0

# From the first byte of a request to the last of its headers, and again to the last of its body.
RECEIVE_TIMEOUT_S = 30.0
# How long a connection may lie idle between requests.
IDLE_TIMEOUT_S = 75

CALL_TIMEOUT_S = 30.0
# A stream lasts as long as its client takes to read it.
STREAM_TIMEOUT_S = 300.0
HEALTH_TIMEOUT_S = 1.0

ANSWER_BYTES_MAX = 64 * 1024 * 1024
REQUEST_ID_LENGTH_MAX = 128
# Backends take 16 KiB of metadata. What is longer is not passed on: it is no key, and no trace depends on it.
AUTHORIZATION_LENGTH_MAX = 8192
TRACE_HEADER_LENGTH_MAX = 1024
TIMEOUT_DIGITS_MAX = 9
DRAIN_TIMEOUT_S = 30


def body_limit(message_name: str) -> BodyLimit:
    """Return the limit on the body of a request, known by its message's full name."""
    return BODY_LIMITS.get(message_name, BODY_LIMIT)
