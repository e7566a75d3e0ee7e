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

# Bodies of all requests that are being received or answered, together; of one that is passed on as it comes, the piece
# that is held.
BODIES_BYTES_MAX = 256 * 1024 * 1024
# What is left by one caller is for the others: two of the largest bodies, or a great many of those that log.
BODIES_PER_CALLER_BYTES_MAX = 192 * 1024 * 1024

# What is passed on as raw bytes: the largest object of any S3, in pieces that backends take.
TRANSFER_BYTES_MAX = 5 * 1024**4
PIECE_BYTES_MAX = 1024 * 1024
# A piece has so much time to arrive; what has come by then is passed on, if it is no less than so many bytes.
PIECE_TIMEOUT_S = 30.0
PIECE_BYTES_MIN = 32 * 1024
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
# Watches are counted by themselves, as they stay and cost little.
WATCHES_MAX = 4000
WATCHES_PER_CALLER_MAX = 2000
OVERLOAD_RETRY_AFTER_S = 1.0

# From the first byte of a request to the last of its headers, and again to the last of its body, unless that is passed
# on as it comes.
RECEIVE_TIMEOUT_S = 30.0
# How long a connection stays open, after an answer that came before the request's body, for a client that reads only
# when it has sent all: in total, and while nothing comes.
LINGER_S = 10.0
LINGER_SILENCE_S = 1.0
# How long a client may read nothing of an answer that waits for it.
STALL_TIMEOUT_S = 60.0
# How long a connection may lie idle between requests.
IDLE_TIMEOUT_S = 75

CALL_TIMEOUT_S = 30.0
# A stream lasts as long as its client takes to read it.
STREAM_TIMEOUT_S = 300.0
# Raw bytes last as long as the network takes; whoever stalls is cut off long before.
TRANSFER_TIMEOUT_S = 24 * 3600.0
# A watch has no end of its own; backends end it within an hour or so.
WATCH_TIMEOUT_S = 2 * 3600.0
HEALTH_TIMEOUT_S = 1.0
# For how long a worker beside others waits for backends before it takes calls all the same.
START_TIMEOUT_S = 10.0
# Calls that are made again on another connection, in all and as a share of those that are answered.
REPEATS_MAX = 1000.0
REPEATS_SHARE = 0.1

# What a backend may send of a stream before it is asked for.
LOOKAHEAD_BYTES = 256 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
# Backends take 16 KiB of metadata. What is longer is not passed on: it is no key, and no trace depends on it.
AUTHORIZATION_LENGTH_MAX = 8192
TRACE_HEADER_LENGTH_MAX = 1024
TIMEOUT_DIGITS_MAX = 9
DRAIN_TIMEOUT_S = 30

# The console: a form's bytes (a policy, or a comment of 65,535 characters, each of which may be twelve) and fields, how
# many pages are made at once, and how long one waits for one answer of the API.
FORM_BYTES_MAX = 1024 * 1024
FORM_FIELDS_MAX = 32
PAGES_MAX = 128
PAGES_PER_CALLER_MAX = 64
CONSOLE_CALL_TIMEOUT_S = 15.0

# GraphQL: a request's bytes, a query's characters, how deep it goes, how many fields it asks for, and how many of them
# under other names; in how many experiments its runs may be, if it asks for these too; and of how many runs one call of
# the registry asks, whose ids are in its query string.
GRAPHQL_BODY_BYTES_MAX = 1024 * 1024
GRAPHQL_LENGTH_MAX = 16 * 1024
GRAPHQL_DEPTH_MAX = 10
GRAPHQL_FIELDS_MAX = 200
GRAPHQL_ALIASES_MAX = 10
GRAPHQL_ROOT_FIELDS_MAX = 5
GRAPHQL_EXPERIMENTS_MAX = 50
GRAPHQL_RUNS_AT_ONCE = 500

# Files of the web UI that are held compressed; all of them are about eight.
UI_BYTES_MAX = 16 * 1024 * 1024
