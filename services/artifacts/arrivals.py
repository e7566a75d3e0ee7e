"""Contents as they come in: the stream of an upload's messages read as a stream of bytes."""

from collections.abc import AsyncIterator
from typing import Any

from services.artifacts.trees import CHUNK_BYTES_MAX
from services.common.errors import InvalidArgument
from services.common.rpc.wire import Bytes


async def contents(first: Any, following: AsyncIterator[Bytes]) -> AsyncIterator[Bytes]:
    """Yield the bytes in `content.data` of an upload's first message, and those of the messages that follow it.

    Raises InvalidArgument for a message of more than 1 MiB, and where no size was announced if the last message is not
    the empty one that marks the end: a call that is broken off looks, for a moment, as if its caller had said all.
    """
    is_marked = announced_size(first) is not None
    yield _checked(first.content.data)
    async for data in following:
        is_marked = is_marked or not data
        yield _checked(data)
    if not is_marked:
        raise InvalidArgument("The contents were broken off: neither was their size announced, nor their end marked.")


def announced_size(message: Any) -> int | None:
    """Return how many bytes an upload's first message says will come, None if it does not say."""
    return message.size if message.HasField("size") else None


def _checked(data: Bytes) -> Bytes:
    if len(data) > CHUNK_BYTES_MAX:
        raise InvalidArgument(f"A message of an upload has {len(data)} bytes: at most {CHUNK_BYTES_MAX} are taken.")
    return data
