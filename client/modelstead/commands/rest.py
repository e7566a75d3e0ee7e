"""Calls of the platform's REST API, with nothing but the standard library."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import urlencode

from modelstead import jitter
from modelstead.commands.exits import CommandError, Exit, of_answer
from modelstead.commands.settings import Target

API = "/api/2.0/mlflow/"
_TIMEOUT_S = 30.0
_TRIES = 5
_PAUSE_FIRST_S, _PAUSE_MAX_S = 0.5, 30.0
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_AWAY = (502, 503, 504)
_TOO_MANY = 429

Json = dict[str, Any]


class RestError(CommandError):
    """The platform refused a call, or did not answer; `status` is 0 then."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message, of_answer(status, reason) if status else Exit.UNAVAILABLE)
        self.status = status
        self.reason = reason


class Rest:
    """The platform. A call is tried up to five times, or as often as said: where it was not taken in (429), and, if it
    may be sent twice, where nobody knows (502, 503, 504, no answer). `Retry-After` is honoured up to 30 s.
    """

    def __init__(self, target: Target, *, tries: int = _TRIES) -> None:
        self._target = target
        self._tries = tries
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if target.tls:
            handlers.append(urllib.request.HTTPSHandler(context=target.tls))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, query: Mapping[str, Any]) -> Json:
        """Return the answer to a GET; what is None in the query is left out, a list is repeated. Raises RestError."""
        return self._retry("GET", f"{path}?{_encode(query)}", None, may_repeat=True)

    def post(self, path: str, body: Mapping[str, Any], *, may_repeat: bool) -> Json:
        """Return the answer to a POST; what is None in the body is left out. Raises RestError."""
        given = {name: value for name, value in body.items() if value is not None}
        return self._retry("POST", path, json.dumps(given).encode(), may_repeat=may_repeat)

    def delete(self, path: str, query: Mapping[str, Any]) -> Json:
        """Return the answer to a DELETE, which is not sent twice. Raises RestError."""
        return self._retry("DELETE", f"{path}?{_encode(query)}", None, may_repeat=False)

    def stream(self, path: str, query: Mapping[str, Any], headers: Mapping[str, str]) -> BinaryIO:
        """Return the answer to a GET to be read as it comes; it is asked for once. Raises RestError."""
        try:
            return self._open("GET", f"{path}?{_encode(query)}", None, headers)
        except _Failed as failed:
            raise failed.error from failed.__cause__

    def _retry(self, method: str, path: str, body: bytes | None, *, may_repeat: bool) -> Json:
        for number in range(self._tries):
            try:
                return self._send(method, path, body)
            except _Failed as failed:
                may = failed.error.status == _TOO_MANY or (may_repeat and failed.error.status in (0, *_AWAY))
                if not may or number == self._tries - 1:
                    raise failed.error from failed.__cause__
                time.sleep(failed.pause_s(number))
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, body: bytes | None) -> Json:
        try:
            with self._open(method, path, body, {"Accept": "application/json"}) as answer:
                content = answer.read(_ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from error
        return _decode(content, self._target.url)

    def _open(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> BinaryIO:
        request = urllib.request.Request(self._target.url + API + path, data=body, method=method)  # noqa: S310
        for name, value in headers.items():
            request.add_header(name, value)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._target.authorization:
            request.add_unredirected_header("Authorization", self._target.authorization)
        try:
            answer: BinaryIO = self._opener.open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise _Failed(_refusal(error), error.headers.get("Retry-After")) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from error
        return answer

    def _no_answer(self, error: Exception) -> "_Failed":
        reason = getattr(error, "reason", None) or error
        message = f"{self._target.url} does not answer: {reason}"
        return _Failed(RestError(message, status=0, reason="NO_ANSWER"), None)


class _Failed(Exception):
    """One attempt failed."""

    def __init__(self, error: RestError, retry_after: str | None) -> None:
        super().__init__(error.message)
        self.error = error
        self._retry_after = retry_after

    def pause_s(self, number: int) -> float:
        """Return for how long to wait before the next attempt."""
        if self._retry_after and self._retry_after.isdigit():
            return min(float(self._retry_after), _PAUSE_MAX_S)
        return min(_PAUSE_FIRST_S * float(2**number), _PAUSE_MAX_S) * jitter.between(0.5, 1)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and credentials would go where the first server says."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _encode(query: Mapping[str, Any]) -> str:
    return urlencode({name: value for name, value in query.items() if value is not None}, doseq=True)


def _decode(content: bytes, url: str) -> Json:
    try:
        answer = json.loads(content or b"{}")
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CommandError(f"{url} does not answer with JSON: is it the address of Modelstead?", Exit.FAILED)
    return answer


def _refusal(error: urllib.error.HTTPError) -> RestError:
    """Return what a server said that refuses: MLflow's JSON, or plain text."""
    content = error.read(_ANSWER_BYTES_MAX)
    try:
        told = json.loads(content)
        reason, message = str(told["error_code"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace").strip()
        short = text if 0 < len(text) <= 500 and "<" not in text else error.reason
        reason, message = "", f"HTTP {error.code}: {short}"
    return RestError(message, status=error.code, reason=reason)
