"""Turns response messages into JSON as MLflow 3.18 prints it.

snake_case names in the order of field numbers, int64 as numbers, NaN and Infinity as strings, enums by name; what is
unset and lists without entries are left out, what is set and empty is not. Two spaces of indentation.
"""

import base64
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import repeat
from typing import Any

import orjson
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.common.rpc.checks import is_map, is_required
from services.gateway import dialect

_Convert = Callable[[Any], Any]
_Row = dict[str, Any]
_Rows = Callable[[Iterable[Sequence[Any]]], list[_Row]]

_FLOATING = frozenset({FieldDescriptor.TYPE_DOUBLE})
_PLAIN = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BOOL, *dialect.INTEGER_RANGES})


def dumps(value: Any) -> bytes:
    """Return JSON as MLflow indents it, without a line break at the end."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


class ResponseEncoder:
    """Encodes responses of one type from their wire form."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._parse = message_factory.GetMessageClass(descriptor).FromString
        self._convert = message_converter(descriptor)

    def to_json(self, body: bytes) -> bytes:
        """Return a serialized message as JSON. Raises google.protobuf.message.DecodeError."""
        return dumps(self._convert(self._parse(body)))


class StreamEncoder:
    """Encodes the responses of one server-streaming method.

    A stream's messages form one JSON object: their lists follow each other, and of any other field the last value
    counts and is printed after the list. The response type has exactly one list; where that is a table, a stream
    without rows prints it as empty if a message has it set, and not at all if none has. Raises DialectError.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        lists = [field for field in descriptor.fields if _is_list(field)]
        if len(lists) != 1:
            raise dialect.DialectError(f"{descriptor.full_name} is streamed, so it must have exactly one list")
        self.parse = message_factory.GetMessageClass(descriptor).FromString
        self.convert = message_converter(descriptor)
        self.list_name = lists[0].name
        self.has_presence = not lists[0].is_repeated
        self.head, self.tail = dumps({self.list_name: [0]}).split(b"    0")

    def splice(self) -> "Splice":
        """Begin a stream's JSON object."""
        return Splice(self)


class Splice:
    """One stream's JSON object, made piece by piece; only the last values of its scalars are held."""

    def __init__(self, encoder: StreamEncoder) -> None:
        self._encoder = encoder
        self._scalars: dict[str, Any] = {}
        self._has_items = False
        self._is_set = False

    def add(self, body: bytes) -> bytes:
        """Return the JSON that a message adds, which may be nothing. Raises google.protobuf.message.DecodeError."""
        encoder = self._encoder
        message = encoder.parse(body)
        values = encoder.convert(message)
        items = values.pop(encoder.list_name, None)
        self._scalars |= values
        if not items:
            self._is_set = self._is_set or (encoder.has_presence and message.HasField(encoder.list_name))
            return b""
        text = dumps({encoder.list_name: items})
        if self._has_items:
            return b",\n" + text[len(encoder.head) : -len(encoder.tail)]
        self._has_items = True
        return text[: -len(encoder.tail)]

    def end(self) -> bytes:
        """Return what closes the object."""
        if not self._has_items:
            return dumps({self._encoder.list_name: [], **self._scalars} if self._is_set else self._scalars)
        if not self._scalars:
            return self._encoder.tail
        return self._encoder.tail.removesuffix(b"\n}") + b",\n" + dumps(self._scalars).removeprefix(b"{\n")


def _is_list(field: FieldDescriptor) -> bool:
    if field.message_type is not None and dialect.is_table(field.message_type):
        return True
    return bool(field.is_repeated) and not is_map(field)


@cache
def message_converter(descriptor: Descriptor) -> Callable[[Any], dict[str, Any]]:
    """Return what makes a JSON object of messages of one type."""
    # Known by the descriptors themselves, as a look at a descriptor's name costs more than all else here.
    names = {field: field.name for field in descriptor.fields}
    conversions = [(field.name, convert) for field in descriptor.fields if (convert := _converter(field)) is not None]

    def convert_message(message: Any) -> dict[str, Any]:
        values = {names[field]: value for field, value in message.ListFields()}
        for name, convert in conversions:
            if name in values:
                values[name] = convert(values[name])
                if values[name] == []:
                    del values[name]
        return values

    return convert_message


def _converter(field: FieldDescriptor) -> _Convert | None:
    if is_map(field):
        return _entries_converter(field) if dialect.is_entries(field) else _sorted_map
    one = _single_converter(field)
    if not field.is_repeated:
        return one
    # A slice is a list, and made twice as fast as by list().
    return (lambda values: values[:]) if one is None else lambda values: [one(value) for value in values]


def _single_converter(field: FieldDescriptor) -> _Convert | None:
    if field.message_type is not None:
        if dialect.is_well_known(field.message_type):
            return json_format.MessageToDict
        return (_table_converter if dialect.is_table(field.message_type) else message_converter)(field.message_type)
    if field.type in _PLAIN:
        return None
    if field.type in _FLOATING:
        return _number
    if field.enum_type is not None:
        return _enum_converter(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    raise dialect.DialectError(f"{field.full_name} has a type without a JSON form here")


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _enum_converter(enum: EnumDescriptor) -> _Convert:
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return lambda number: names.get(number, number)


def _sorted_map(entries: Any) -> dict[str, Any]:
    return {key: entries[key] for key in sorted(entries)}


def _entries_converter(field: FieldDescriptor) -> _Convert:
    return lambda entries: [{"key": key, "value": entries[key]} for key in sorted(entries)]


@cache
def _table_converter(descriptor: Descriptor) -> _Convert:
    shapes: dict[tuple[FieldDescriptor, ...], _Shape] = {}

    def convert(message: Any) -> list[_Row]:
        given = message.ListFields()
        if not given:
            return []
        fields, columns = zip(*given, strict=True)
        shape = shapes.get(fields)
        if shape is None:
            shape = shapes[fields] = _Shape(fields)
        return shape.rows(columns)

    return convert


class _Shape:
    """Which columns of a table are given, and so what its rows look like."""

    def __init__(self, fields: Sequence[FieldDescriptor]) -> None:
        self._build = _row_builder([field.name for field in fields])
        self._conversions = [
            (index, _column_converter(convert, field))
            for index, field in enumerate(fields)
            if (convert := _single_converter(field)) is not None
        ]
        self._optional = [
            (index, field.name)
            for index, field in enumerate(fields)
            if field.type == FieldDescriptor.TYPE_STRING and not is_required(field)
        ]

    def rows(self, columns: Sequence[Any]) -> list[_Row]:
        """Return the rows; a column of one entry stands for every row."""
        lists: list[list[Any]] = [column[:] for column in columns]
        for index, convert in self._conversions:
            lists[index] = convert(lists[index])
        lengths = set(map(len, lists))
        count = max(lengths)
        spread = lists if len(lengths) == 1 else [_spread(values, count) for values in lists]
        rows = self._build(zip(*spread, strict=True))
        for index, name in self._optional:
            if "" in lists[index]:
                _drop_empty(rows, name)
        return rows


def _spread(values: list[Any], count: int) -> Iterable[Any]:
    return values if len(values) == count else repeat(values[0], count)


def _column_converter(convert: _Convert, field: FieldDescriptor) -> Callable[[list[Any]], list[Any]]:
    if field.type in _FLOATING:
        return _numbers
    return lambda values: [convert(value) for value in values]


def _numbers(values: list[Any]) -> list[Any]:
    # One addition per number tells that all are finite. If the sum overflows, each is looked at.
    return values if math.isfinite(sum(values)) else [_number(value) for value in values]


def _row_builder(names: Sequence[str]) -> _Rows:
    """Return a function that makes dicts with these keys of tuples of as many values.

    The source of a dict display is compiled, as `dataclasses` does: it takes 0.2 s for a million rows of four values,
    `dict(zip(names, row))` 0.5 s. The names are field names of our protos, never a request's.
    """
    variables = [f"v{index}" for index in range(len(names))]
    pairs = ", ".join(f"{name!r}: {variable}" for name, variable in zip(names, variables, strict=True))
    source = f"lambda rows: [{{{pairs}}} for {', '.join(variables)}, in rows]"
    builder: _Rows = eval(source, {"__builtins__": {}})  # noqa: S307
    return builder


def _drop_empty(rows: list[_Row], name: str) -> None:
    for row in rows:
        if row[name] == "":
            del row[name]
