"""Answers what concurrent calls ask by few reads: those who come while a read is under way share the next one."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

from opentelemetry.trace import Span

from services.common import tracing

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class GroupRead(Generic[KeyT, ValueT]):
    """Hands the keys that wait to `read`, each once and at most `keys_max`; one read is under way at a time.

    What a caller gets was read after it had asked, so that it sees whatever was committed before. `read` returns a
    value for each key; its exception is told to all who wait for it.
    """

    def __init__(self, read: Callable[[Sequence[KeyT]], Awaitable[Mapping[KeyT, ValueT]]], *, keys_max: int) -> None:
        self._read = read
        self._keys_max = keys_max
        self._waiting: dict[KeyT, list[tuple[asyncio.Future[ValueT], Span | None]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def get(self, key: KeyT) -> ValueT:
        """Return the value of a key. Raises what `read` raises."""
        answer: asyncio.Future[ValueT] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append((answer, tracing.recorded()))
        if self._reader is None:
            self._reader = asyncio.create_task(self._drain(), context=contextvars.Context())
        return await answer

    async def _drain(self) -> None:
        try:
            while self._waiting:
                keys = list(islice(self._waiting, self._keys_max))
                await self._settle({key: self._waiting.pop(key) for key in keys})
        finally:
            self._reader = None

    async def _settle(self, group: "dict[KeyT, list[tuple[asyncio.Future[ValueT], Span | None]]]") -> None:
        try:
            with tracing.shared("read", (span for answers in group.values() for _, span in answers)):
                values = await self._read(list(group))
        except Exception as error:  # noqa: BLE001 -- the boundary between a read and those who wait for it
            for answer in (answer for answers in group.values() for answer, _ in answers if not answer.done()):
                answer.set_exception(error)
            return
        for key, answers in group.items():
            for answer, _ in answers:
                if not answer.done():
                    answer.set_result(values[key])
