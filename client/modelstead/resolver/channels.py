"""How the registry is reached: the channel, its settings, and the caller's credentials."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from modelstead import trust

Token = str | Callable[[], str] | None
Tls = bool | grpc.ChannelCredentials

_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A replica that goes away leaves the others; one that has told so is not asked any more.
    (
        "grpc.service_config",
        '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}',
    ),
    # How long to wait between attempts is decided in `watching`; the channel must not wait longer by itself.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Connections are this channel's own, so that they end with it, which a fork relies upon.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
)

_TASKS = Path("/proc/self/task")
_POLL_S = 0.001


class Quiet:
    """Tells when gRPC has ended its threads, as it does some milliseconds after the last channel is closed.

    Until then it holds a lock, which a child that is forked meanwhile finds held for ever. What runs when this is made
    is not waited for, nor are threads of Python; what another library begins later is, in vain.
    """

    def __init__(self) -> None:
        self._known = _tasks()

    def wait(self, timeout_s: float) -> None:
        """Return when it is so, or after `timeout_s`."""
        until = time.monotonic() + timeout_s
        while self._is_busy() and time.monotonic() < until:
            time.sleep(_POLL_S)

    def _is_busy(self) -> bool:
        return bool(_tasks() - self._known - {thread.native_id for thread in threading.enumerate()})


def _tasks() -> set[int | None]:
    """Return the ids of the process's threads, on Linux."""
    try:
        return {int(task.name) for task in _TASKS.iterdir()}
    except FileNotFoundError:
        return set()


class Connector:
    """Makes channels to one address."""

    def __init__(self, address: str, *, token: Token, tls: Tls) -> None:
        self.address = address
        self._token = token
        self._tls = tls

    def channel(self) -> grpc.Channel:
        """Return a new channel; it connects with its first call."""
        if self._tls is False:
            return grpc.insecure_channel(self.address, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(*trust.channel_arguments()) if self._tls is True else self._tls
        return grpc.secure_channel(self.address, credentials, options=_OPTIONS)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the credentials for one call; a token that is a function is asked anew each time."""
        token = self._token() if callable(self._token) else self._token
        return (("authorization", f"Bearer {token}"),) if token else ()
