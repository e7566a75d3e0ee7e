"""Every bound that the gateway puts on what it is sent, on how long it waits and on what it holds at once.

Past a bound the answer is 400, 408, 413, 429 or 431 and names it. Bounds on what a request means (how many metrics, how
long a name) are the services'.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# A data set's profile may have 16 MB, and JSON may write a character in six.
BODY_BYTES_MAX = 32 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLimit:
    """The most characters of a request that came as a JSON string of JSON; `message` takes the number as `{size}`."""

    length_max: int
    message: str


# By the full name of the request's message. As MLflow 3.18, which measures no batch but one that is encoded twice.
ENCODED_TWICE: Mapping[str, TextLimit] = MappingProxyType(
    {
        "modelstead.tracking.v1.LogBatchRequest": TextLimit(
            length_max=1_000_000,
            message="Batched logging API requests must be at most 1000000 bytes, got a request of size {size}.",
        ),
    }
)

# Bodies of all requests that are being received or answered, together.
BODIES_BYTES_MAX = 256 * 1024 * 1024
# The request line and all headers.
HEAD_BYTES_MAX = 96 * 1024
# A search over many runs names them all in its query string. The parser of URLs takes 65,535 bytes in all.
QUERY_BYTES_MAX = 60_000
PATH_BYTES_MAX = 5_000
NESTING_MAX = 100

# How much of a wrong value is quoted back, in characters.
QUOTED_LENGTH_MAX = 200

REQUESTS_MAX = 512
REQUESTS_PER_CALLER_MAX = 384
OVERLOAD_RETRY_AFTER_S = 1.0

# From the first byte of a request to the last of its headers, and again to the last of its body.
RECEIVE_TIMEOUT_S = 30.0
# How long a client may read nothing of an answer that waits for it.
STALL_TIMEOUT_S = 60.0
# How long a connection may lie idle between requests.
IDLE_TIMEOUT_S = 75

CALL_TIMEOUT_S = 30.0
# A stream lasts as long as its client takes to read it.
STREAM_TIMEOUT_S = 300.0
HEALTH_TIMEOUT_S = 1.0

ANSWER_BYTES_MAX = 64 * 1024 * 1024
# Backends take 16 KiB of metadata. What is longer is not passed on: it is no key, and no trace depends on it.
AUTHORIZATION_LENGTH_MAX = 8192
TRACE_HEADER_LENGTH_MAX = 1024
TIMEOUT_DIGITS_MAX = 9
DRAIN_TIMEOUT_S = 30
