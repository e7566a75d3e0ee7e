"""A proxy before a real S3 that lies on demand: what it acknowledged is not there, what it returns is wrong."""

import hashlib
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

from tests.s3 import S3

# Told of an object that is sent: it is acknowledged with the ETag of what was sent.
LIES_ON_STORING = ("forgets", "stores half", "stores other bytes")
# Told of an object that is asked for.
LIES_ON_READING = ("has nothing", "sends half", "sends an empty one", "sends other bytes")


class LyingS3:
    """Passes everything on as it is, but for what `lie` names. Objects are small enough to be held in memory."""

    def __init__(self, honest: S3) -> None:
        self._upstream = urlsplit(honest.endpoint).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.lie: str | None = None
        self.s3 = S3(
            endpoint=f"http://127.0.0.1:{self._server.server_port}",
            access_key=honest.access_key,
            secret_key=honest.secret_key,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.answer(self, body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - names of http.server

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        # `/bucket/key`, with further slashes in the key.
        is_object = urlsplit(request.path).path.strip("/").count("/") > 0
        if request.command == "PUT" and is_object and self.lie in LIES_ON_STORING:
            self._pretend_to_store(request, body)
            return
        status, headers, content = self._pass_on(request, body)
        if request.command == "GET" and is_object and self.lie in LIES_ON_READING:
            _misread(request, self.lie, status, headers, content)
        else:
            _send(request, status, headers, content)

    def _pretend_to_store(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        if self.lie == "stores half":
            self._pass_on(request, body[: len(body) // 2])
        elif self.lie == "stores other bytes":
            self._pass_on(request, _flipped(body))
        _send(request, 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b"")

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        # The host is signed, so it stays as the client wrote it.
        connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, str(len(body)) if name.lower() == "content-length" else value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content


def _misread(request: BaseHTTPRequestHandler, lie: str, status: int, headers: dict[str, str], content: bytes) -> None:
    if lie == "has nothing":
        _send(request, 404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSuchKey</Code></Error>")
    elif lie == "sends an empty one":
        _send(request, status, headers, b"")
    elif lie == "sends other bytes":
        _send(request, status, headers, _flipped(content))
    else:
        _send(request, status, headers, content[: len(content) // 2], length=len(content))
        request.close_connection = True


def _send(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes, *, length: int | None = None
) -> None:
    request.send_response(status)
    for name, value in headers.items():
        if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
            request.send_header(name, value)
    if request.command == "HEAD":
        request.send_header("Content-Length", headers.get("Content-Length", "0"))
    elif status != 204:
        request.send_header("Content-Length", str(len(content) if length is None else length))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else content
