"""Turns dataclasses into messages by field name: a message field takes the attribute of the same name."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_M = TypeVar("_M", bound=Message)
_Convert = Callable[[Any], Any]


def encode(message_class: type[_M], source: Any) -> _M:
    """Build a message from an object with attributes named as the message's fields.

    None leaves a field unset; an attribute that the object lacks does too. Lists become repeated fields,
    dicts become maps, objects become sub-messages, enum values are given by name or number.
    """
    return _encoder(message_class.DESCRIPTOR)(source)  # type: ignore[no-any-return]


@cache
def _encoder(descriptor: Descriptor) -> _Convert:
    message_class = message_factory.GetMessageClass(descriptor)
    fields: list[tuple[str, _Convert | None]] = []

    def build(source: Any) -> Any:
        values = {}
        for name, convert in fields:
            value = getattr(source, name, None)
            if value is not None:
                values[name] = convert(value) if convert else value
        return message_class(**values)

    fields += [(field.name, _converter(field)) for field in descriptor.fields]
    return build


def _converter(field: FieldDescriptor) -> _Convert | None:
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return None
    encode_one = _encoder(field.message_type)
    return (lambda items: [encode_one(item) for item in items]) if field.is_repeated else encode_one
