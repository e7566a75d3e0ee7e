"""Checks a request against its descriptor: required fields, text without NUL, known enum values, equal columns.

The checks are compiled once per message type, so that a call only runs those its request can fail.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from modelstead import options_pb2
from services.common.errors import InvalidArgument

Check = Callable[[Any], None]
_FieldCheck = Callable[[Any, str], None]

SEE_DOCS = "See the API docs for more information about request parameters."


def missing(path: str) -> InvalidArgument:
    """Return the error for an absent required field, worded as MLflow 3.18 does (handlers.py)."""
    return InvalidArgument(f"Missing value for required parameter '{path}'. {SEE_DOCS}")


def compile_check(descriptor: Descriptor) -> Check:
    """Return a function that raises InvalidArgument, naming the field, for the first thing wrong in a message."""
    checks = _of_message(descriptor)

    def check(message: Any) -> None:
        for field_check in checks:
            field_check(message, "")

    return check


@cache
def _of_message(descriptor: Descriptor) -> tuple[_FieldCheck, ...]:
    checks = [check for field in descriptor.fields for check in _of_field(field)]
    if descriptor.GetOptions().Extensions[options_pb2.columns]:
        checks.insert(0, _equal_columns(descriptor))
    return tuple(checks)


def _of_field(field: FieldDescriptor) -> Iterator[_FieldCheck]:
    # An empty list and an absent one are the same message; the gateway, which sees the JSON, tells them apart.
    if is_required(field) and not field.is_repeated:
        yield _required(field)
    if field.type == FieldDescriptor.TYPE_STRING:
        yield _text(field)
    elif field.type == FieldDescriptor.TYPE_ENUM:
        yield _known_enum(field)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if is_map(field):
            yield _map_text(field)
        elif (inner_type := field.message_type) and (inner := _of_message(inner_type)):
            yield _nested(field, inner)


def is_required(field: FieldDescriptor) -> bool:
    """Whether the proto marks the field REQUIRED."""
    return field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _required(field: FieldDescriptor) -> _FieldCheck:
    name = field.name

    def check(message: Any, prefix: str) -> None:
        if not message.HasField(name) or getattr(message, name) == "":
            raise missing(prefix + name)

    return check


def _text(field: FieldDescriptor) -> _FieldCheck:
    name = field.name

    def repeated(message: Any, prefix: str) -> None:
        values = getattr(message, name)
        if values and "\0" in "".join(values):
            raise _nul(prefix + name)

    def singular(message: Any, prefix: str) -> None:
        if "\0" in getattr(message, name):
            raise _nul(prefix + name)

    return repeated if field.is_repeated else singular


def _map_text(field: FieldDescriptor) -> _FieldCheck:
    name = field.name

    def check(message: Any, prefix: str) -> None:
        for index, (key, value) in enumerate(getattr(message, name).items()):
            if not key:
                raise missing(f"{prefix}{name}[{index}].key")
            if "\0" in key or "\0" in value:
                raise _nul(prefix + name)

    return check


def _known_enum(field: FieldDescriptor) -> _FieldCheck:
    assert field.enum_type
    name, known = field.name, frozenset(field.enum_type.values_by_number)

    def unknown(value: int, path: str) -> InvalidArgument:
        return InvalidArgument(f"Invalid value {value} for parameter '{path}' supplied: it is not known.")

    def repeated(message: Any, prefix: str) -> None:
        for index, value in enumerate(getattr(message, name)):
            if value not in known:
                raise unknown(value, f"{prefix}{name}[{index}]")

    def singular(message: Any, prefix: str) -> None:
        value = getattr(message, name)
        if value not in known:
            raise unknown(value, prefix + name)

    return repeated if field.is_repeated else singular


def _nested(field: FieldDescriptor, inner: tuple[_FieldCheck, ...]) -> _FieldCheck:
    name = field.name

    def repeated(message: Any, prefix: str) -> None:
        for index, item in enumerate(getattr(message, name)):
            for check in inner:
                check(item, f"{prefix}{name}[{index}].")

    def singular(message: Any, prefix: str) -> None:
        if message.HasField(name):
            item = getattr(message, name)
            for check in inner:
                check(item, f"{prefix}{name}.")

    return repeated if field.is_repeated else singular


def _equal_columns(descriptor: Descriptor) -> _FieldCheck:
    names = [field.name for field in descriptor.fields]
    required = [field.name for field in descriptor.fields if is_required(field)]

    def check(message: Any, prefix: str) -> None:
        lengths = {name: len(getattr(message, name)) for name in names}
        rows = max(lengths.values())
        for name, length in lengths.items():
            if length not in (0, 1, rows):
                raise InvalidArgument(f"Column '{prefix}{name}' has {length} entries for {rows} rows.")
        table = prefix.removesuffix(".")
        for name in required if rows else ():
            if not lengths[name]:
                raise missing(f"{table}[0].{name}")
            column = getattr(message, name)
            if "" in column:
                raise missing(f"{table}[{list(column).index('')}].{name}")

    return check


def _nul(path: str) -> InvalidArgument:
    return InvalidArgument(f"'{path}' cannot contain NUL (0x00) characters")
