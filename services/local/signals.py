"""Signals turned into something to wait for, so that nothing is interrupted half-way."""

import select
import signal
import socket
import time
from types import FrameType
from typing import Self

_SAME_REQUEST_S = 0.3


class StopRequested(Exception):
    """Ctrl-C or its like came while something was being waited for."""


class Signals:
    """While entered, counts the requests to stop, and ends waits when one comes or a child ends.

    Main thread only. SIGHUP counts unless it is ignored, as under `nohup`.
    """

    def __init__(self) -> None:
        self.stop_requests = 0
        self._counted = -_SAME_REQUEST_S
        self._replaced: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._old_wakeup_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._replaced[number] = signal.signal(number, self._count)
        self._replaced[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _wake)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup_fd)
        self._reader.close()
        self._writer.close()

    def wait(self, timeout_s: float | None) -> None:
        """Wait for a signal, at most `timeout_s`; None waits for ever."""
        if select.select([self._reader], [], [], timeout_s)[0]:
            self._reader.recv(4096)

    def pause(self, timeout_s: float | None) -> None:
        """Wait likewise. Raises StopRequested once a stop was requested."""
        if self.stop_requests == 0:
            self.wait(timeout_s)
        if self.stop_requests > 0:
            raise StopRequested

    def _count(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        # What passes a signal on, such as `timeout` or a shell, may deliver the same one twice.
        if now - self._counted > _SAME_REQUEST_S:
            self.stop_requests += 1
            self._counted = now


def _wake(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor is written because a handler exists; there is nothing else to do."""
