"""Passes the messages of a watch on as server-sent events, each as it comes (https://html.spec.whatwg.org, 9.2).

An event's id is what the client sends back as `Last-Event-ID`: the field of the answer that has the name of the
request's field which takes that header. Its type is the name of the first message in it, its data is one line of JSON.
A message without any, which only tells that the stream lives, is a comment.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio
import orjson
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from services.common.errors import ServiceError, Unavailable
from services.gateway import calls, dialect, errors
from services.gateway.bodies import Incoming
from services.gateway.encoding import message_converter
from services.gateway.replies import Header, StreamedReply

MEDIA_TYPE = b"text/event-stream"
_LAST_EVENT_ID = "last-event-id"
# How long a client waits before it comes back.
_RETRY = b"retry: 1000\n\n"
_ALIVE = b":\n\n"
_HEADERS: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))


class EventEncoder:
    """Encodes the messages of one watch from their wire form. Raises DialectError."""

    def __init__(self, method: MethodDescriptor) -> None:
        ids = [field.name for field in method.input_type.fields if dialect.http_header(field) == _LAST_EVENT_ID]
        fields = method.output_type.fields
        if len(ids) != 1 or ids[0] not in method.output_type.fields_by_name:
            raise dialect.DialectError(f"{method.full_name} is a watch, so one field must resume it, there and back")
        self._id = ids[0]
        self._kinds = [field.name for field in fields if _is_kind(field)]
        self._parse = message_factory.GetMessageClass(method.output_type).FromString
        self._convert = message_converter(method.output_type)

    def to_event(self, body: bytes) -> bytes:
        """Return a serialized message as an event. Raises google.protobuf.message.DecodeError."""
        values = self._convert(self._parse(body))
        resume_token = values.pop(self._id, "")
        kind = next((name for name in self._kinds if name in values), None)
        if kind is None:
            return _ALIVE
        return b"id: %b\nevent: %b\ndata: %b\n\n" % (resume_token.encode(), kind.encode(), orjson.dumps(values))


class Watches:
    """The watches that are passed on."""

    def __init__(self) -> None:
        self._calls: set[Any] = set()
        self._are_ended = False

    async def answer(self, call: Any, incoming: Incoming, encoder: EventEncoder) -> StreamedReply:
        """Return the answer once its first message has come. Raises ServiceError or ClientGone."""
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        if self._are_ended:
            call.cancel()
        with calls.cancelled_when_gone(call, incoming):
            first = await self._read(call, encoder)
        if first is None:
            raise errors.unexpected("backend answered with an empty stream")
        pieces = self._events(call, incoming, encoder, _RETRY + first)
        return StreamedReply(media_type=MEDIA_TYPE, headers=_HEADERS, pieces=pieces)

    def end(self) -> None:
        """End all of them, so that the clients come back to another gateway."""
        self._are_ended = True
        for call in tuple(self._calls):
            call.cancel()

    async def _events(
        self, call: Any, incoming: Incoming, encoder: EventEncoder, event: bytes | None
    ) -> AsyncGenerator[bytes, None]:
        try:
            # Whatever it is that ends a watch, to a client it is the same: it comes back.
            with calls.cancelled_when_gone(call, incoming), contextlib.suppress(ServiceError):
                while event is not None:
                    yield event
                    event = await self._read(call, encoder)
        finally:
            call.cancel()

    async def _read(self, call: Any, encoder: EventEncoder) -> bytes | None:
        """Return the next event; None at the end. Raises ServiceError."""
        try:
            with calls.translated():
                message = await call.read()
                return None if message is grpc.aio.EOF else encoder.to_event(message)
        except asyncio.CancelledError:
            if self._are_ended:
                raise Unavailable("The gateway is stopping; come back.", retry_after_s=1) from None
            raise


def _is_kind(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not field.is_repeated and not dialect.is_well_known(field.message_type)
