"""uvicorn as the gateway runs it: bounds on connections, and an end that lets requests under way finish."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Coroutine, Iterator

import uvicorn

from services.common.settings import Address, SettingsError
from services.gateway import limits
from services.gateway.app import Gateway
from services.gateway.protocol import BoundedProtocol

_BACKLOG = 2048

_log = logging.getLogger("modelstead.gateway")


class Server(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, and takes the signal as a reason to end well, not as a failure.

    It goes on for `drain_notice_s`, not ready and with one answer a connection, so that load balancers and clients look
    elsewhere; then it takes no new connections and gives requests under way 30 s.
    """

    def __init__(self, gateway: Gateway, *, drain_notice_s: float = 0.0) -> None:
        super().__init__(
            uvicorn.Config(
                gateway,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                # Nothing here asks for a client's address, so no header need be believed about it.
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=limits.IDLE_TIMEOUT_S,
                timeout_graceful_shutdown=limits.DRAIN_TIMEOUT_S,
            )
        )
        self._gateway = gateway
        self._drain_notice_s = drain_notice_s
        self._first: asyncio.Task[None] | None = None

    def listen_after(self, first: Coroutine[None, None, None]) -> None:
        """Take connections only when something else is done, or a signal ends the waiting for it."""
        self._first = asyncio.ensure_future(first)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._first is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._first
        await super().startup(sockets)
        for listener in sockets or ():
            _log.info("listening", extra={"address": str(Address(*listener.getsockname()[:2]))})

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._drain)
        yield

    def stop(self) -> None:
        """Take no new requests and end when those under way are answered; watches end at once."""
        self.should_exit = True
        self._gateway.end_watches()

    def _drain(self) -> None:
        self._gateway.drain()
        if self._first is not None:
            self._first.cancel()
        asyncio.get_running_loop().call_later(self._drain_notice_s, self.stop)


def listen(address: Address, *, shares_port: bool = False) -> socket.socket:
    """Open the socket to serve on; with `shares_port` other processes may do so as well, and connections come to it
    only when it is served.

    Raises SettingsError if the address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        if not shares_port:
            return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
        bound = socket.socket(family)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((address.host, address.port))
        return bound
    except OSError as error:
        raise SettingsError(
            f"MODELSTEAD_LISTEN={address} cannot be listened on ({error.strerror or error}); is the port taken?"
        ) from error
