"""The artifacts of one run through MLflow's proxy, spoken byte by byte: paths go to the server as they are written."""

import contextlib
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.compat.rest import Json, Refusal

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def refusal(self) -> Refusal:
        assert self.headers["content-type"].startswith("application/json"), self.body[:500]
        error = json.loads(self.body)
        assert "error_code" in error, self.body[:500]
        return Refusal(self.status, error["error_code"], error["message"])


@dataclass(frozen=True)
class Wire:
    """The server, of which nothing is asked but to take a request as it is."""

    base_url: str

    def call(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request with exactly these headers, and a length if there is a body and none is given."""
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=TIMEOUT_S)
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            given = dict(headers or {})
            if body is not None and "Transfer-Encoding" not in given:
                given["Content-Length"] = str(len(body))
            for name, value in given.items():
                connection.putheader(name, value)
            # A server that refuses by the head alone may have closed the connection already: what it said counts.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(body or None)
            response = connection.getresponse()
            return Answer(
                status=response.status,
                headers={name.lower(): value for name, value in response.getheaders()},
                body=response.read(),
            )
        finally:
            connection.close()

    def get(self, target: str, /, **query: str) -> Answer:
        return self.call("GET", f"{target}?{urlencode(query)}")


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is below an owner's root, which is a path of the proxy; paths are as a URL has them."""

    wire: Wire
    root: str

    def url(self, path: str) -> str:
        return f"{PROXY}/{self.root}/{path}"

    def put(self, path: str, contents: bytes, **headers: str) -> Answer:
        return self.wire.call("PUT", self.url(path), contents, headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.wire.call("GET", self.url(path), headers=headers)

    def delete(self, path: str) -> Answer:
        return self.wire.call("DELETE", self.url(path))

    def made(self, *paths: str) -> None:
        """Have files at these paths, each with its path as its contents."""
        for path in paths:
            answer = self.put(path, path.encode())
            assert answer.status == 200, answer

    def listed(self, folder: str = "") -> list[Json]:
        """What is in a folder, whose path is plain text."""
        answer = self.wire.get(PROXY, path=f"{self.root}/{folder}" if folder else self.root)
        assert answer.status == 200, answer
        files: list[Any] = json.loads(answer.body).get("files", [])
        return files


def file(path: str, size: int) -> Json:
    return {"path": path, "is_dir": False, "file_size": size}


def folder(path: str) -> Json:
    return {"path": path, "is_dir": True}
