"""Plain requests to the gateway, at any path, with what their answers say besides their body."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from modelstead.commands.settings import Target

_TIMEOUT_S = 15.0
_ANSWER_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, and the times of this machine, in seconds since the Unix epoch, between which it was made."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_s: float
    answered_s: float


class Wire:
    """The way to the gateway, through the proxies that the environment names. Raises OSError where nobody answers."""

    def __init__(self, target: Target) -> None:
        self.target = target
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if target.tls:
            handlers.append(urllib.request.HTTPSHandler(context=target.tls))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, method: str, path: str, body: bytes | None = None) -> Reply:
        """Return the answer to one request, whatever its status."""
        request = urllib.request.Request(self.target.url + path, data=body, method=method)  # noqa: S310
        if body is not None:
            request.add_header("Content-Type", "application/octet-stream")
        if self.target.authorization:
            request.add_unredirected_header("Authorization", self.target.authorization)
        asked_s = time.time()
        try:
            try:
                answer = self._opener.open(request, timeout=_TIMEOUT_S)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                content = answer.read(_ANSWER_BYTES_MAX)
        except http.client.HTTPException as error:
            raise OSError(f"it does not speak HTTP: {error!r}") from error
        return Reply(
            status=answer.status or 0,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=content,
            asked_s=asked_s,
            answered_s=time.time(),
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is something to be told of."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None
