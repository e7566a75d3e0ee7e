"""uvicorn's HTTP protocol with bounds on a request's head, in bytes and in time, and on clients that do not read."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway import limits

_TOO_LARGE = b"Request Header Fields Too Large"
_TIMED_OUT = b"Request Timeout"


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose next request's head is too large or too long in coming, or whose client has stopped
    reading its answer. The body is bounded where it is read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = self._headers_bytes = 0
        self._in_head, self._has_begun = True, False
        self._timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > limits.HEAD_BYTES_MAX:
            self._refuse(431, _TOO_LARGE)
        elif self._in_head and self._has_begun and self._timer is None:
            # Most heads come whole, and need no timer.
            self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._headers_bytes = 0
        self._in_head = self._has_begun = True
        self._stop_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        # A field in the trailer of a chunked body comes here too.
        self._headers_bytes += len(name) + len(value)
        if self._headers_bytes > limits.HEAD_BYTES_MAX:
            raise ValueError("headers exceed their bound")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = self._has_begun = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def _await_reader(self) -> None:
        self._stop_stall_timer()
        unread = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(limits.STALL_TIMEOUT_S, self._cut_if_stalled, unread)

    def _cut_if_stalled(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() < unread:
            self._await_reader()
        else:
            self.transport.abort()

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(limits.RECEIVE_TIMEOUT_S, self._refuse, 408, _TIMED_OUT)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, reason: bytes) -> None:
        if self.transport.is_closing():
            return
        lines = (b"HTTP/1.1 %d %s" % (status, reason), b"content-length: 0", b"connection: close", b"", b"")
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()
