"""Plain HTTP to the object store, for the bytes of objects: blocking, and a connection is used again and again.

The URLs are signed elsewhere; here are neither keys nor anything about S3. Everything raises OSError or
http.client.HTTPException when the store is away.
"""

import contextlib
import http.client
import select
import socket
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from opentelemetry.trace import Span, StatusCode

from services.common import tracing

CONNECT_TIMEOUT_S = 1.5
# How long the store may say nothing; that it is away is found out sooner, in availability.py.
SILENCE_S_MAX = 60.0
_IDLE_MAX = 32


class Connections:
    """Connections to one server, kept open while idle. May be used from several threads."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is `http://host:port` or `https://host`."""
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: deque[http.client.HTTPConnection] = deque()

    def take(self) -> http.client.HTTPConnection:
        """Return a connection, newly made or left by an exchange before."""
        with contextlib.suppress(IndexError):
            # Until there is none left; the newest is the likeliest that the server has not closed meanwhile.
            while True:
                connection = self._idle.pop()
                if not _has_news(connection):
                    return connection
                connection.close()
        return self._connect()

    def give_back(self, connection: http.client.HTTPConnection) -> None:
        """Keep a connection on which nothing is left to be read."""
        if len(self._idle) < _IDLE_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S, context=self._tls)
            if self._tls
            else http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        )
        connection.connect()
        connection.sock.settimeout(SILENCE_S_MAX)
        return connection


class Exchange:
    """One request and its answer, step by step; the steps may run in different threads."""

    def __init__(self, connections: Connections, method: str, url: str, headers: Mapping[str, str]) -> None:
        """Say what will be requested; nothing is sent yet."""
        self._connections = connections
        self._method, self._url, self._headers = method, url, headers
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._in_step = threading.Lock()
        # From the first step to the last.
        self._span: Span | None = None

    def begin(self) -> None:
        """Connect and send the head of the request."""
        parts = urlsplit(self._url)
        with self._in_step:
            self._span = begin_call(self._method, self._url)
            self._connection = self._connections.take()
            self._connection.putrequest(self._method, f"{parts.path}?{parts.query}", skip_accept_encoding=True)
            for name, value in self._headers.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()

    def send(self, data: bytes | memoryview) -> None:
        """Send the next bytes of the body."""
        with self._in_step:
            assert self._connection is not None, "not begun"
            self._connection.send(data)

    def answer(self) -> http.client.HTTPResponse:
        """Return the answer, whose body is still to be read."""
        with self._in_step:
            assert self._connection is not None, "not begun"
            self._response = self._connection.getresponse()
            if self._span is not None:
                self._span.set_attribute("http.response.status_code", self._response.status)
            return self._response

    def read(self, length: int) -> bytes:
        """Return so many bytes of the answer's body; fewer only where it ends."""
        with self._in_step:
            assert self._response is not None, "no answer yet"
            return self._response.read(length)

    def close(self) -> None:
        """Leave the connection to others if all was said on it, else end it. Waits for a step that still runs."""
        with self._in_step:
            connection, self._connection = self._connection, None
            self._end_span()
            if connection is None:
                return
            if self._response is not None and self._response.isclosed() and not self._response.will_close:
                self._connections.give_back(connection)
            else:
                connection.close()

    def interrupt(self) -> None:
        """Make a step that another thread is in fail."""
        connection = self._connection
        with contextlib.suppress(OSError):
            if connection is not None and connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _end_span(self) -> None:
        span, self._span = self._span, None
        if span is not None:
            if self._response is None:
                span.set_status(StatusCode.ERROR, "no answer")
            span.end()


class TracedPool(urllib3.PoolManager):
    """Connections of a library's, each of whose requests is a span."""

    def urlopen(self, method: str, url: str, redirect: bool = True, **keywords: Any) -> urllib3.BaseHTTPResponse:  # type: ignore[override]
        span = begin_call(method, url)
        try:
            response = super().urlopen(method, url, redirect, **keywords)
            if span is not None:
                span.set_attribute("http.response.status_code", response.status)
            return response
        finally:
            if span is not None:
                span.end()


def begin_call(method: str, url: str) -> Span | None:
    """Begin the span of a request to the object store, which is called as S3 has it; whoever calls this ends it."""
    parts = urlsplit(url)
    attributes = {"http.request.method": method, "server.address": parts.netloc, "url.path": parts.path}
    return tracing.begin_call(f"S3 {method}", attributes)


def _has_news(connection: http.client.HTTPConnection) -> bool:
    """Whether an idle connection can be read from: then it was closed, or holds what nobody asked for."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
