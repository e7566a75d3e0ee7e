"""A platform for tests of the command: a real HTTP server that answers as a test says and remembers what was asked."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

API = "/api/2.0/mlflow/"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer; text is sent as it is, everything else as JSON. `cut` ends the connection instead."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """What was asked; `given` is the body or the query."""

    method: str
    path: str
    given: Mapping[str, Any]
    authorization: str | None
    last_event_id: str | None = None


def error(status: int, reason: str, message: str, **headers: str) -> Answer:
    return Answer(status=status, body={"error_code": reason, "message": message}, headers=headers)


REFUSED = error(403, "PERMISSION_DENIED", "1 of 2 approvals is missing.")


class Platform:
    """Answers `METHOD path` with what `answers` has for it, one after the other; the last one again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.calls: list[Call] = []
        # By how much its clock is wrong.
        self.ahead_s = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, what: str, *answers: Answer) -> None:
        self.answers[what] = list(answers)

    def asked(self, path: str) -> list[Call]:
        return [call for call in self.calls if call.path == path]

    def next(self, call: Call) -> Answer:
        """Note a call, and return the answer to it."""
        what = f"{call.method} {call.path}"
        with self._lock:
            self.calls.append(call)
            left = self.answers.get(what)
            if left is None:
                return error(404, "ENDPOINT_NOT_FOUND", f"no {what}")
            return left.pop(0) if len(left) > 1 else left[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                path = parts.path.removeprefix(API)
                call = Call(
                    method=self.command, path=path, given=body or query,
                    authorization=self.headers.get("Authorization"), last_event_id=self.headers.get("Last-Event-ID"),
                )  # fmt: skip
                self.send(platform.next(call))

            def send(self, answer: Answer) -> None:
                if answer.cut:
                    return
                content = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 -- the names are http.server's

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string((timestamp or time.time()) + platform.ahead_s)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
