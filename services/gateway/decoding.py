"""Turns JSON objects and query strings into request messages, by MLflow 3.18's rules.

Compiled once per message type. Lists of numbers and texts go to protobuf a whole column at a time, which checks their
types; only a column that it refuses is gone through value by value, for the exact conversion or the exact complaint.
Required fields that are absent are the services' to find.
"""

from collections.abc import Callable, Iterable
from functools import cache
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qs

import orjson
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.common.errors import InvalidArgument
from services.common.rpc.checks import is_map, is_required
from services.gateway import dialect, scalars

# Puts a JSON value that is not null into a message's field; the path is that of the value.
Assign = Callable[[Any, Any, str], None]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DECODE_TWICE = 2


class RequestDecoder:
    """Builds requests of one type."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._message_class = message_factory.GetMessageClass(descriptor)
        self._fields = _fields_of(descriptor)
        self._by_name = descriptor.fields_by_name

    def from_json(self, body: bytes) -> Message:
        """Build a request from a JSON object, given as such or once more encoded as a string. An empty body is an
        empty object. Raises InvalidArgument.
        """
        message = self._message_class()
        self._fields.fill(message, _parse(body), "")
        return message

    def from_query(self, query: bytes) -> Message:
        """Build a request from a query string; a repeated key is a list. Raises InvalidArgument."""
        message = self._message_class()
        self._fields.fill(message, self._arguments(query), "")
        return message

    def has(self, field_name: str) -> bool:
        """Whether requests have a field of that name."""
        return field_name in self._by_name

    def set(self, message: Message, field_name: str, text: str) -> None:
        """Set a field, over its value in the body if there is one, from a piece of the path or a header."""
        self._fields.assign(message, field_name, text)

    def _arguments(self, query: bytes) -> dict[str, Any]:
        try:
            given = parse_qs(query.decode("ascii"), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise InvalidArgument("The query string is not valid UTF-8.") from None
        arguments: dict[str, Any] = {}
        for field in self._by_name.values():
            for name in (field.name, dialect.json_alias(field)):
                if name in given:
                    arguments[name] = given[name] if field.is_repeated else _argument(field, given[name][0])
        return arguments


def _argument(field: FieldDescriptor, text: str) -> str | bool:
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text
    if text.lower() not in ("true", "false"):
        raise InvalidArgument(f"Invalid boolean value: {text}, must be 'true' or 'false'.")
    return text.lower() == "true"


def _parse(body: bytes) -> dict[str, Any]:
    text: Any = body.removeprefix(_BYTE_ORDER_MARK)
    for _ in range(_DECODE_TWICE):
        value = _loads(text) if text else None
        if not isinstance(value, str):
            break
        text = value
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArgument(f"The request body must be a JSON object, but it is of type '{type(value).__name__}'.")
    return value


def _loads(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg or "recursion" in error.msg.lower():
            raise scalars.too_deep() from None
        raise InvalidArgument(f"The request body is not valid JSON: {error}.") from None


class _Fields:
    """Fills messages of one type from JSON objects.

    A field is known by its own name, by its camelCase name unless it is required, and by its alias.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._assign = {field.name: _assign(field) for field in descriptor.fields}
        self._camel = {field.json_name: field for field in descriptor.fields if field.json_name != field.name}
        aliases = [(dialect.json_alias(field), field.name) for field in descriptor.fields]
        self._aliases = [(alias, name) for alias, name in aliases if alias]

    def fill(self, message: Any, values: Any, path: str) -> None:
        """Set the fields of a message; `path` is that of the object, ending in a dot unless it is empty."""
        if type(values) is not dict:
            raise scalars.invalid(values, path[:-1])
        for name, value in values.items():
            assign = self._assign.get(name)
            if assign is None:
                self._fill_other(message, name, values, path)
            elif value is not None:
                assign(message, value, path + name)
        for alias, name in self._aliases:
            if values.get(alias) is not None and not values.get(name):
                self._assign[name](message, values[alias], path + alias)

    def assign(self, message: Any, name: str, text: str) -> None:
        self._assign[name](message, text, name)

    def _fill_other(self, message: Any, name: str, values: dict[str, Any], path: str) -> None:
        field = self._camel.get(name)
        if field is not None and field.name in values:
            raise _both(field)
        if field is None or is_required(field):
            scalars.check_nesting(values[name], path + name)
        elif values[name] is not None:
            self._assign[field.name](message, values[name], path + field.name)


@cache
def _fields_of(descriptor: Descriptor) -> _Fields:
    return _Fields(descriptor)


def _both(field: FieldDescriptor) -> InvalidArgument:
    return InvalidArgument(f"Request specifies both '{field.name}' and '{field.json_name}'; provide only one of them.")


def _assign(field: FieldDescriptor) -> Assign:
    if field.message_type is None:
        return _scalar_list(field) if field.is_repeated else _scalar(field)
    if is_map(field):
        return _entries(field) if dialect.is_entries(field) else _map(field)
    if field.is_repeated:
        return _messages(field)
    if dialect.is_table(field.message_type):
        return _table(field)
    return _well_known(field) if dialect.is_well_known(field.message_type) else _message(field)


def _scalar(field: FieldDescriptor) -> Assign:
    name, convert = field.name, scalars.converter(field)

    def assign(message: Any, value: Any, path: str) -> None:
        setattr(message, name, convert(value, path))

    return assign


def _scalar_list(field: FieldDescriptor) -> Assign:
    column = _Column(field)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not list:
            raise scalars.invalid(value, path)
        if not column.take(message, value):
            exact = [column.convert(item, f"{path}[{index}]") for index, item in enumerate(value)]
            column.put(message, exact)

    return assign


def _message(field: FieldDescriptor) -> Assign:
    name, fields = field.name, _fields_of(field.message_type)

    def assign(message: Any, value: Any, path: str) -> None:
        part = getattr(message, name)
        part.SetInParent()
        fields.fill(part, value, f"{path}.")

    return assign


def _messages(field: FieldDescriptor) -> Assign:
    if dialect.is_table(field.message_type) or dialect.is_well_known(field.message_type):
        raise dialect.DialectError(f"{field.full_name} repeats a message that has no JSON form in a list here")
    name, fields = field.name, _fields_of(field.message_type)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not list:
            raise scalars.invalid(value, path)
        parts = getattr(message, name)
        for index, item in enumerate(value):
            fields.fill(parts.add(), item, f"{path}[{index}].")

    return assign


def _well_known(field: FieldDescriptor) -> Assign:
    name = field.name

    def assign(message: Any, value: Any, path: str) -> None:
        scalars.check_nesting(value, path)
        part = getattr(message, name)
        part.SetInParent()
        try:
            json_format.ParseDict(value, part)
        except json_format.ParseError:
            raise scalars.invalid(value, path) from None

    return assign


def _map(field: FieldDescriptor) -> Assign:
    name = field.name
    key, convert = _map_converters(field)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not dict:
            raise scalars.invalid(value, path)
        entries = getattr(message, name)
        for text, item in value.items():
            entries[key(text, path)] = convert(item, f"{path}.{text}")

    return assign


def _entries(field: FieldDescriptor) -> Assign:
    name = field.name
    key, convert = _map_converters(field)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not list:
            raise scalars.invalid(value, path)
        entries = getattr(message, name)
        for index, item in enumerate(value):
            if type(item) is not dict:
                raise scalars.invalid(item, f"{path}[{index}]")
            if item.get("key") in (None, ""):
                raise scalars.missing(f"{path}[{index}].key")
            given = item.get("value")
            text = "" if given is None else convert(given, f"{path}[{index}].value")
            entries[key(item["key"], f"{path}[{index}].key")] = text

    return assign


def _map_converters(field: FieldDescriptor) -> tuple[scalars.Convert, scalars.Convert]:
    entry = field.message_type.fields_by_name
    if entry["key"].type != FieldDescriptor.TYPE_STRING or entry["value"].type != FieldDescriptor.TYPE_STRING:
        raise dialect.DialectError(f"{field.full_name} is a map of other things than text")
    return scalars.converter(entry["key"]), scalars.converter(entry["value"])


class _Column:
    """Puts many values into one repeated scalar field."""

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.is_required = is_required(field)
        self.convert = scalars.converter(field)
        self.absent: str | int = "" if field.type == FieldDescriptor.TYPE_STRING else 0
        self._is_text = field.type == FieldDescriptor.TYPE_STRING
        # Texts and doubles need no look at the types: protobuf refuses the others itself, and takes true as 1.0.
        self._is_loose = self._is_text or field.type == FieldDescriptor.TYPE_DOUBLE
        self._is_integer = field.type in dialect.INTEGER_RANGES

    def take(self, message: Any, values: list[Any]) -> bool:
        """Append the values if all are what the field takes as it is; else leave the message as it was."""
        if not (self._is_loose or (self._is_integer and {int}.issuperset(map(type, values)))):
            return False
        try:
            if self._is_text and "\0" in "".join(values):
                return False
            self.put(message, values)
        except (ValueError, TypeError):
            message.ClearField(self.name)
            return False
        return True

    def put(self, message: Any, values: Iterable[Any]) -> None:
        getattr(message, self.name).extend(values)


def _table(field: FieldDescriptor) -> Assign:
    name, table = field.name, _table_of(field.message_type)

    def assign(message: Any, value: Any, path: str) -> None:
        part = getattr(message, name)
        part.SetInParent()
        table.fill(part, value, path)

    return assign


class _Table:
    """Fills messages of columns from lists of row objects."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._columns = {field.name: _Column(field) for field in descriptor.fields}
        self._required = frozenset(name for name, column in self._columns.items() if column.is_required)
        self._camel = {field.json_name: field for field in descriptor.fields if field.json_name != field.name}

    def fill(self, message: Any, rows: Any, path: str) -> None:
        if type(rows) is not list:
            raise scalars.invalid(rows, path)
        if rows and not self._fill_alike(message, rows):
            message.Clear()
            message.SetInParent()
            self._fill_exactly(message, rows, path)

    def _fill_alike(self, message: Any, rows: list[Any]) -> bool:
        """Fill from rows that all have the same known names and plain values; else return False."""
        names = rows[0].keys() if type(rows[0]) is dict else ()
        if not self._required <= names <= self._columns.keys():
            return False
        try:
            return {len(names)}.issuperset(map(len, rows)) and all(
                self._columns[name].take(message, list(map(itemgetter(name), rows))) for name in names
            )
        except (KeyError, TypeError, IndexError):
            return False

    def _fill_exactly(self, message: Any, rows: list[Any], path: str) -> None:
        converted = [self._row(row, f"{path}[{index}]") for index, row in enumerate(rows)]
        for name, column in self._columns.items():
            if any(name in row for row in converted):
                column.put(message, [row.get(name, column.absent) for row in converted])

    def _row(self, row: Any, path: str) -> dict[str, Any]:
        if type(row) is not dict:
            raise scalars.invalid(row, path)
        values = {}
        for given, value in row.items():
            name = self._column_name(given, row)
            if name is None:
                scalars.check_nesting(value, f"{path}.{given}")
            elif value is not None:
                values[name] = self._columns[name].convert(value, f"{path}.{name}")
        for name in self._columns:
            if name in self._required and name not in values:
                raise scalars.missing(f"{path}.{name}")
        return values

    def _column_name(self, given: str, row: dict[str, Any]) -> str | None:
        field = self._camel.get(given)
        if field is None:
            return given if given in self._columns else None
        if field.name in row:
            raise _both(field)
        return None if is_required(field) else field.name


@cache
def _table_of(descriptor: Descriptor) -> _Table:
    return _Table(descriptor)
