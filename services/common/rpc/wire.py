"""The protobuf wire form of `google.api.HttpBody`, by hand where a copy of each megabyte counts.

A piece of a body is joined once, into the message that is sent; what is read of a message is a view of what came.
protobuf itself would copy each piece three times.
"""

from collections.abc import Sequence

from google.api import httpbody_pb2

Bytes = bytes | memoryview

_LENGTH_DELIMITED = 2
_DATA_TAG = httpbody_pb2.HttpBody.DATA_FIELD_NUMBER << 3 | _LENGTH_DELIMITED
_DATA_TAG_BYTE = bytes((_DATA_TAG,))


def body(data: Bytes) -> bytes:
    """Return the wire form of an HttpBody that has only data."""
    return b"".join((_DATA_TAG_BYTE, _varint(len(data)), data))


def piece(field_number: int, parts: Sequence[Bytes]) -> bytes:
    """Return the wire form of a message whose only field is an HttpBody, which has only these bytes as its data."""
    size = sum(map(len, parts))
    head = _DATA_TAG_BYTE + _varint(size)
    tag = _varint(field_number << 3 | _LENGTH_DELIMITED)
    return b"".join((tag, _varint(len(head) + size), head, *parts))


def contents(message: bytes, field_number: int) -> Bytes | None:
    """Return the bytes of a message that `piece` makes; None for any other message."""
    tag = _varint(field_number << 3 | _LENGTH_DELIMITED)
    size, start = _read_varint(message, len(tag))
    if not message.startswith(tag) or start + size != len(message) or message[start : start + 1] != _DATA_TAG_BYTE:
        return None
    size, start = _read_varint(message, start + 1)
    return memoryview(message)[start:] if start + size == len(message) else None


def data(message: bytes) -> Bytes:
    """Return the data of an HttpBody's wire form. Raises google.protobuf.message.DecodeError."""
    if message[:1] == _DATA_TAG_BYTE:
        size, start = _read_varint(message, 1)
        if start + size == len(message):
            return memoryview(message)[start:]
    parsed: bytes = httpbody_pb2.HttpBody.FromString(message).data
    return parsed


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(message: bytes, start: int) -> tuple[int, int]:
    """Return a number and where the next field begins; a number without an end fits no message."""
    number = shift = 0
    for index in range(start, len(message)):
        number |= (message[index] & 0x7F) << shift
        shift += 7
        if message[index] <= 0x7F:
            return number, index + 1
    return len(message), start
