"""A watch over gRPC, read by a thread of its own."""

import queue
import threading
from collections.abc import Iterator
from typing import Any, Generic, Protocol, Self, TypeVar

import grpc

TIMEOUT_S = 60.0


class _Resumable(Protocol):
    @property
    def resume_token(self) -> str: ...


MessageT = TypeVar("MessageT", bound=_Resumable)


class Watching(Generic[MessageT]):
    """What a watch tells. `token` is the newest one."""

    def __init__(self, call: Any, *, resume_token: str) -> None:
        self._call = call
        self._messages: queue.Queue[MessageT | grpc.RpcError] = queue.Queue()
        self.token = resume_token
        threading.Thread(target=self._read, args=(iter(call),), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()

    def take(self, timeout_s: float = TIMEOUT_S) -> MessageT:
        """Return the message that comes next. Raises grpc.RpcError where the watch has ended."""
        message = self._messages.get(timeout=timeout_s)
        if isinstance(message, grpc.RpcError):
            raise message
        self.token = message.resume_token
        return message

    def _read(self, messages: Iterator[MessageT]) -> None:
        try:
            for message in messages:
                self._messages.put(message)
        except grpc.RpcError as error:
            self._messages.put(error)
