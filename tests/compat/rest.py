"""A caller of MLflow's REST API with no MLflow code between the test and the wire."""

from dataclasses import dataclass
from typing import Any

import httpx

API = "/api/2.0/mlflow/"
AJAX = "/ajax-api/2.0/mlflow/"
JSON_TYPE = {"Content-Type": "application/json"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """What a client needs of an error: the rest of its body may differ."""

    status: int
    error_code: str
    message: str


def invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_PARAMETER_VALUE", message)


def not_found(message: str) -> Refusal:
    return Refusal(404, "RESOURCE_DOES_NOT_EXIST", message)


class Rest:
    """Paths are relative to `/api/2.0/mlflow/` unless they start with a slash."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=60)

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, /, **request: Any) -> httpx.Response:
        return self._http.request(method, path if path.startswith("/") else API + path, **request)

    def send(self, path: str, content: bytes, /, *, method: str = "POST") -> httpx.Response:
        """Send bytes as they are, labelled as JSON."""
        return self.call(method, path, content=content, headers=JSON_TYPE)

    def get(self, path: str, /, **params: Any) -> Json:
        return _body(self.call("GET", path, params=params))

    def post(self, path: str, /, **body: Any) -> Json:
        return _body(self.call("POST", path, json=body))

    def patch(self, path: str, /, **body: Any) -> Json:
        return _body(self.call("PATCH", path, json=body))

    def delete(self, path: str, /, **body: Any) -> Json:
        return _body(self.call("DELETE", path, json=body or None))

    def refused_get(self, path: str, /, **params: Any) -> Refusal:
        return refusal(self.call("GET", path, params=params))

    def refused_post(self, path: str, /, **body: Any) -> Refusal:
        return refusal(self.call("POST", path, json=body))

    def refused_patch(self, path: str, /, **body: Any) -> Refusal:
        return refusal(self.call("PATCH", path, json=body))

    def refused_delete(self, path: str, /, **body: Any) -> Refusal:
        return refusal(self.call("DELETE", path, json=body or None))

    def refused_bytes(self, path: str, content: bytes, /, *, method: str = "POST") -> Refusal:
        return refusal(self.send(path, content, method=method))


def refusal(response: httpx.Response) -> Refusal:
    assert response.headers["content-type"].startswith("application/json"), response.text
    body = response.json()
    assert "error_code" in body, f"granted: {response.text[:500]}"
    return Refusal(response.status_code, body["error_code"], body["message"])


def _body(response: httpx.Response) -> Json:
    assert response.status_code == 200, response.text
    body = response.json()
    assert isinstance(body, dict)
    return body
