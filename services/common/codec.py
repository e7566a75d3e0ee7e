"""Turns dataclasses into messages by field name: a message field takes the attribute of the same name."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_M = TypeVar("_M", bound=Message)
_Convert = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode(message_class: type[_M], source: Any) -> _M:
    """Build a message from an object whose class has attributes named as the message's fields.

    None leaves a field unset; an attribute that the class lacks does too. Lists become repeated fields,
    dicts become maps, objects become sub-messages, datetimes timestamps, enum values are given by name or number.
    """
    return message_class(**_values_of(message_class.DESCRIPTOR)(source))


class Encodable(Protocol):
    """What keeps its own wire forms, by the class of the message, and does not change once it has one."""

    @property
    def encoded(self) -> dict[type[Message], bytes]: ...


_E = TypeVar("_E", bound=Encodable)


def encode_once(message_class: type[_M], source: _E, build: Callable[[type[_M], _E], _M] = encode) -> bytes:
    """Return the wire form of a message about an object, built at the first time and kept with the object."""
    kept = source.encoded.get(message_class)
    if kept is None:
        kept = source.encoded[message_class] = build(message_class, source).SerializeToString()
    return kept


@cache
def _values_of(descriptor: Descriptor) -> _Convert:
    """Return a function from an object to a message's values: a dict with dicts for its sub-messages, of which protobuf
    makes the whole message at once. A message made by itself would be copied into the one around it.
    """
    reader_of: dict[type, _Convert] = {}

    def values(source: Any) -> dict[str, Any]:
        reader = reader_of.get(type(source))
        if reader is None:
            reader = reader_of[type(source)] = _reader(descriptor, type(source))
        return reader(source)  # type: ignore[no-any-return]

    return values


def _reader(descriptor: Descriptor, source_type: type) -> _Convert:
    """Return what reads a message's values from objects of one type, which all have the same attributes."""
    fields = [field for field in descriptor.fields if hasattr(source_type, field.name)]
    converters = [(field.name, _converter(field)) for field in fields]
    read = attrgetter(*(field.name for field in fields)) if len(fields) > 1 else _one_by_one(fields)

    def values(source: Any) -> dict[str, Any]:
        return {
            name: value if convert is None else convert(value)
            for (name, convert), value in zip(converters, read(source), strict=True)
            if value is not None
        }

    return values


def _one_by_one(fields: list[FieldDescriptor]) -> _Convert:
    # Of one name, attrgetter returns the value itself, and it takes no fewer.
    return lambda source: [getattr(source, field.name) for field in fields]


def _converter(field: FieldDescriptor) -> _Convert | None:
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return None
    if field.message_type.full_name == "google.protobuf.Timestamp":
        return _timestamp
    values = _values_of(field.message_type)
    return (lambda items: [values(item) for item in items]) if field.is_repeated else values


def _timestamp(time: datetime) -> dict[str, int]:
    seconds, microseconds = divmod((time - _EPOCH) // _MICROSECOND, 1_000_000)
    return {"seconds": seconds, "nanos": microseconds * 1000}
