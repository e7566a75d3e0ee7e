"""Sends to receivers over HTTP, and nowhere but to addresses that the operator allows.

A name is resolved here, its addresses are checked, and the connection is made to an address that was checked: a name
that means something else a moment later changes nothing. TLS still asks for the certificate of the name. Redirects are
not followed, no proxy is used, and of an answer only the beginning is read.
"""

import asyncio
import contextlib
import email.utils
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore

from services.registry.webhooks.networks import Networks, parse_address
from services.registry.webhooks.outcomes import Failure, Outcome, failure_of
from services.registry.webhooks.payloads import Message, Target

# How long an attempt may take, all in all.
ATTEMPT_S_MAX = 10.0
ANSWER_BYTES_MAX = 64 * 1024
_CONNECT_S_MAX = 3.0
_ADDRESSES_MAX = 4
_CONNECTIONS_MAX = 256
_IDLE_S_MAX = 15.0
_RESOLVERS = 8

# Takes a name and a port, returns addresses as text. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Sender:
    """Sends messages, each within `attempt_s_max`. `resolve` is the system's resolver unless given."""

    def __init__(
        self, networks: Networks, *, resolve: Resolve | None = None, attempt_s_max: float = ATTEMPT_S_MAX
    ) -> None:
        self._resolver = _SystemResolver()
        self._networks = networks
        self._attempt_s_max = attempt_s_max
        backend = _CheckingBackend(networks, resolve or self._resolver)
        self._pools = {verified: _pool(_tls(verified=verified), backend) for verified in (True, False)}

    async def send(self, target: Target, message: Message) -> Outcome:
        """Send once and return what came of it."""
        started = time.monotonic()
        answer, failure = _Answer(), None
        try:
            async with asyncio.timeout(self._attempt_s_max):
                await self._post(target, message, answer)
        except _ERRORS as error:
            failure = _failure(error)
        return Outcome(
            duration_ms=round((time.monotonic() - started) * 1000),
            response_status=answer.status,
            # A receiver that has said what it thinks, and then breaks off, has said it.
            failure=failure if answer.status is None else failure_of(answer.status),
            body=answer.body,
            retry_after_s=answer.retry_after_s,
        )

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()
        self._resolver.close()

    async def _post(self, target: Target, message: Message, answer: "_Answer") -> None:
        if urlsplit(target.url).scheme not in self._networks.schemes:
            # The operator allowed it once.
            raise _Refused
        pool = self._pools[target.enable_ssl_verification]
        headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in message.headers]
        limits = {"connect": _CONNECT_S_MAX}
        async with pool.stream(
            "POST", target.url, headers=headers, content=message.body, extensions={"timeout": limits}
        ) as response:
            answer.status, answer.retry_after_s = response.status, _retry_after_s(response.headers)
            async for chunk in response.aiter_stream():
                answer.body = (answer.body + chunk)[:ANSWER_BYTES_MAX]
                if len(answer.body) == ANSWER_BYTES_MAX:
                    break


@dataclass(slots=True)
class _Answer:
    """As much of an answer as has come."""

    status: int | None = None
    retry_after_s: float | None = None
    body: bytes = b""


class _Refused(Exception):
    """The address is not allowed."""


class _Unresolved(OSError):
    """The name has no address."""


_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    UnicodeError,
    _Refused,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


class _CheckingBackend(httpcore.AsyncNetworkBackend):
    """Makes connections to addresses that were checked, and to none else."""

    def __init__(self, networks: Networks, resolve: Resolve) -> None:
        self._networks = networks
        self._resolve = resolve
        self._connecting = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the library's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        permitted = await self._permitted(host, port)
        for address in permitted[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._connecting.connect_tcp(address, port, timeout, local_address, socket_options)
        return await self._connecting.connect_tcp(permitted[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise _Refused

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _permitted(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that may be connected to, at least one. Raises _Refused, _Unresolved."""
        literal = parse_address(host)
        texts = [str(literal)] if literal else await self._resolved(host, port)
        addresses = [address for text in texts if (address := parse_address(text)) is not None]
        if not addresses:
            raise _Unresolved
        permitted = [str(address) for address in addresses if self._networks.permits(address)]
        if not permitted:
            raise _Refused
        return permitted[:_ADDRESSES_MAX]

    async def _resolved(self, host: str, port: int) -> Sequence[str]:
        try:
            return await self._resolve(host, port)
        except OSError as error:
            raise _Unresolved from error


class _SystemResolver:
    """Asks the system in threads of its own, so that a slow name server holds up nothing but webhooks."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="webhook-resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _getaddrinfo, host, port)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _getaddrinfo(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _pool(tls: ssl.SSLContext, backend: _CheckingBackend) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        ssl_context=tls,
        max_connections=_CONNECTIONS_MAX,
        max_keepalive_connections=_CONNECTIONS_MAX,
        keepalive_expiry=_IDLE_S_MAX,
        network_backend=backend,
    )


def _tls(*, verified: bool) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, SSL_CERT_FILE's, and Mozilla's; or anybody."""
    context = ssl.create_default_context()
    if verified:
        context.load_verify_locations(certifi.where())
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _retry_after_s(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    text = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
    if text.isdecimal() and len(text) <= 9:
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _failure(error: BaseException) -> Failure:
    if isinstance(error, _Refused):
        return Failure.ADDRESS_REFUSED
    if isinstance(error, _Unresolved | UnicodeError):
        return Failure.NAME_UNRESOLVED
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return Failure.TIMED_OUT
    if isinstance(error, httpcore.ConnectError | OSError):
        return Failure.TLS_FAILED if _is_tls(error) else Failure.CONNECT_FAILED
    return Failure.BROKEN_OFF


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
