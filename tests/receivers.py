"""Receivers of webhooks as tests run them: real HTTP servers on loopback that note what comes and answer as told."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from services.local import ports, waiting


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request. `local_host` is the address that it came to."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    local_host: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a receiver says, after `delay_s`. Without `headers`, a length is added."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    # How often the body is sent, which its length does not tell; the connection ends after it.
    repeated: int | None = None


Answers = Callable[[Received], Answer]


class Receiver:
    """Listens while it is entered, and between `start` and `stop`, on one port of its own."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.received: list[Received] = []
        self.answers: Answers = lambda _: Answer()
        self.connections = 0
        # The most requests that were being answered at a time.
        self.busiest = 0
        self._answering = 0
        self._lock = threading.Lock()
        self._tls = tls
        self._address = (host, 0)
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hook"

    def start(self) -> None:
        if not self.port:
            # Not one that systems take for outgoing connections, as it is to be free when this listens again.
            self._address = (self._address[0], ports.choose(self._address[0]))
        self._server = _Server(self._address, self, self._tls)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and break off what is under way."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.break_off()
            self._server = None

    def answer(self, received: Received) -> Answer:
        """Note a request and return what to say to it, when it is time to say it."""
        with self._lock:
            self._answering += 1
            self.busiest = max(self.busiest, self._answering)
        answer = self.answers(received)
        self.received.append(received)
        time.sleep(answer.delay_s)
        with self._lock:
            self._answering -= 1
        return answer

    def wait_for(self, count: int, *, timeout_s: float = 60) -> list[Received]:
        """Return what came, once so much has. Fails if it does not come."""
        waiting.until(lambda: len(self.received) >= count, timeout_s=timeout_s)
        assert len(self.received) >= count, f"{len(self.received)} of {count} came"
        return list(self.received)


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Yield the URL of a receiver that is not there: nobody listens at its port, nor can anybody else take it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/hook"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], receiver: Receiver, tls: ssl.SSLContext | None) -> None:
        super().__init__(address, _Handler)
        self.receiver = receiver
        self._tls = tls
        self._open: set[Any] = set()

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        self.receiver.connections += 1
        self._open.add(connection)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError):
            if self._tls is None:
                super().finish_request(request, client_address)
                return
            with self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as secured:
                secured.do_handshake()
                super().finish_request(secured, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def break_off(self) -> None:
        for connection in tuple(self._open):
            self.shutdown_request(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever sent it has died.
            self.close_connection = True
            return
        received = Received(
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            local_host=self.connection.getsockname()[0],
        )
        answer = self.server.receiver.answer(received)
        self.send_response(answer.status)
        framing = {"connection": "close"} if answer.repeated else {"content-length": str(len(answer.body))}
        headers = answer.headers or framing
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for _ in range(answer.repeated or 1):
            self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
