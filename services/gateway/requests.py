"""What the gateway reads of an HTTP request before its body."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Scope

from services.common.errors import InvalidArgument
from services.common.rpc.call import request_id_of
from services.gateway import limits

_TRACE_HEADERS = (b"traceparent", b"tracestate", b"baggage")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request's line and headers; names of headers are in lower case, and of a repeated one the last counts.

    `path` is as it was sent, with its percent-encoding, without the prefix at which a proxy has the gateway; nothing is
    left of the bare prefix. `request_id` is the client's, or new.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    request_id: str

    @classmethod
    def of(cls, scope: Scope, *, root_path: str = "") -> "Request":
        """Read a request. A proxy may have taken `root_path` off its path, or left it."""
        headers = dict(scope["headers"])
        if scope["method"] != "GET":
            # A range is for GET alone.
            headers.pop(b"range", None)
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        return cls(
            method=scope["method"],
            path=_below(root_path, scope["raw_path"].decode("latin-1")),
            query=scope["query_string"],
            headers=headers,
            request_id=request_id_of({"x-request-id": given}),
        )

    def header(self, name: bytes) -> str | None:
        """Return a header's text."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def has_body(self) -> bool:
        """Whether a body follows, of which only the end may be known."""
        return self.content_length != 0

    @property
    def content_length(self) -> int | None:
        """The bytes of the body; None if only its end will tell."""
        if b"transfer-encoding" in self.headers:
            return None
        # The server has seen to it that there are only digits.
        return int(self.headers.get(b"content-length", b"0"))

    @property
    def has_long_body(self) -> bool:
        """Whether more may follow than one piece of what is passed on as it comes."""
        return self.content_length is None or self.content_length > limits.PIECE_BYTES_MAX

    @property
    def authorization(self) -> str | None:
        """The caller's credentials; those longer than any that are accepted count as none."""
        given = self.header(b"authorization")
        return given if given and len(given) <= limits.AUTHORIZATION_LENGTH_MAX else None

    def trace_headers(self) -> dict[str, str]:
        """Return the headers of the W3C that tell which trace the request belongs to."""
        given = {name.decode(): value.decode("latin-1") for name in _TRACE_HEADERS if (value := self.headers.get(name))}
        return {name: value for name, value in given.items() if len(value) <= limits.TRACE_HEADER_LENGTH_MAX}

    def timeout_s(self, longest_s: float) -> float:
        """Return how long the answer may take: as the client asks, at most `longest_s`. Raises InvalidArgument."""
        given = self.header(b"x-request-timeout-ms")
        if given is None:
            return longest_s
        if not (given.isascii() and given.isdecimal() and len(given) <= limits.TIMEOUT_DIGITS_MAX and int(given) > 0):
            raise InvalidArgument("The header X-Request-Timeout-Ms must be a positive number of milliseconds.")
        return min(int(given) / 1000, longest_s)

    def check_size(self) -> None:
        """Raise InvalidArgument if the path or the query string exceeds its bound."""
        if len(self.path) > limits.PATH_BYTES_MAX:
            raise InvalidArgument(f"The path exceeds {limits.PATH_BYTES_MAX} bytes.")
        if len(self.query) > limits.QUERY_BYTES_MAX:
            raise InvalidArgument(f"The query string exceeds {limits.QUERY_BYTES_MAX} bytes.")

    def check_content_type(self) -> None:
        """Raise InvalidArgument unless the body is said to be JSON, worded as MLflow 3.18 does (handlers.py)."""
        given = self.header(b"content-type")
        if given is None:
            raise InvalidArgument("Bad Request. Content-Type header is missing.")
        if given.partition(";")[0] != "application/json":
            raise InvalidArgument("Bad Request. Content-Type must be one of ['application/json'].")


def _below(root_path: str, path: str) -> str:
    is_below = root_path and f"{path}/".startswith(f"{root_path}/")
    return path.removeprefix(root_path) if is_below else path
