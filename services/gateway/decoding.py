"""Turns JSON objects and query strings into request messages, by MLflow 3.18's rules.

Compiled once per message type. Required fields that are absent are the services' to find.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import orjson
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.common.errors import InvalidArgument
from services.common.rpc.checks import is_map, is_required, missing
from services.gateway import complaints, dialect, limits, scalars, tables
from services.gateway.limits import TextLimit

# Puts a JSON value that is not null into a message's field; the path is that of the value.
Assign = Callable[[Any, Any, str], None]


class RequestDecoder:
    """Builds requests of one type.

    Texts that come from a path or a header are given as `texts`, by field name; they go over what the body says.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._message_class = message_factory.GetMessageClass(descriptor)
        self._fields = _fields_of(descriptor)
        self._arguments_by_name = _arguments_of(descriptor)
        self._headers = _headers_of(descriptor)
        self._required = [field for field in descriptor.fields if is_required(field)]
        self._requires_list = any(field.is_repeated for field in self._required)
        self._encoded_twice = limits.ENCODED_TWICE.get(descriptor.full_name)

    def from_json(self, body: bytes, texts: Mapping[str, str]) -> Message:
        """Build a request from a JSON object, given as such or once more encoded as a string. An empty body is an
        empty object. Raises InvalidArgument.
        """
        return self._build(_parse(body, self._encoded_twice), texts)

    def from_query(self, query: bytes, texts: Mapping[str, str]) -> Message:
        """Build a request from a query string; a repeated key is a list. Raises InvalidArgument."""
        return self._build(self._arguments(query), texts)

    def texts_of(self, headers: Mapping[bytes, bytes]) -> dict[str, str]:
        """Return the texts that headers, by name in lower case, give for fields; an empty header counts as none."""
        given = ((field_name, headers.get(header)) for field_name, header in self._headers)
        return {field_name: value.decode("latin-1") for field_name, value in given if value}

    def _build(self, values: dict[str, Any], texts: Mapping[str, str]) -> Message:
        message = self._message_class()
        self._fields.fill(message, values, "")
        for name, text in texts.items():
            self._fields.assign(message, name, text)
        if self._requires_list:
            self._check_given(message, values)
        return message

    def _check_given(self, message: Any, values: dict[str, Any]) -> None:
        """Tell a required list that is absent from one that is empty, which a message cannot. Raises InvalidArgument.

        The first absent field is named; where no list is required, that is left to the service.
        """
        for field in self._required:
            name = field.name
            is_given = values.get(name) is not None if field.is_repeated else message.HasField(name)
            if not is_given or getattr(message, name) == "":
                raise missing(name)

    def _arguments(self, query: bytes) -> dict[str, Any]:
        try:
            given = parse_qs(query.decode("ascii"), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise InvalidArgument("The query string is not valid UTF-8.") from None
        return {
            name: given[name] if field.is_repeated else _argument(field, given[name][0])
            for name, field in self._arguments_by_name
            if name in given
        }


def _arguments_of(descriptor: Descriptor) -> list[tuple[str, FieldDescriptor]]:
    names = [((field.name, dialect.json_alias(field)), field) for field in descriptor.fields]
    return [(name, field) for both, field in names for name in both if name]


def _headers_of(descriptor: Descriptor) -> list[tuple[str, bytes]]:
    named = [(field.name, dialect.http_header(field)) for field in descriptor.fields]
    return [(field_name, header.encode()) for field_name, header in named if header]


def _argument(field: FieldDescriptor, text: str) -> str | bool:
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text
    if text.lower() not in ("true", "false"):
        raise InvalidArgument(f"Invalid boolean value: {text}, must be 'true' or 'false'.")
    return text.lower() == "true"


def _parse(body: bytes, encoded_twice: TextLimit | None) -> dict[str, Any]:
    value = _loads(body) if body else None
    if isinstance(value, str):
        # Clients before MLflow 1.0 send JSON encoded twice.
        if encoded_twice is not None and len(value) > encoded_twice.length_max:
            raise InvalidArgument(encoded_twice.message.format(size=len(value)))
        value = _loads(value)
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
            raise complaints.too_deep() from None
        raise InvalidArgument(f"The request body is not valid JSON: {error}.") from None


class _Fields:
    """Fills messages of one type from JSON objects.

    A field is known by its own name, by its camelCase name and by its alias; but a required field of a request itself
    not by its camelCase name, as there MLflow looks for it before it knows of other names.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        fields = [field for field in descriptor.fields if dialect.is_in_json(field)]
        self._assign = {field.name: _assign(field) for field in fields}
        self._assign_header = {field.name: _assign(field) for field in descriptor.fields if dialect.http_header(field)}
        required = [field for field in fields if is_required(field)]
        self._required_numbers = {field.name for field in required if field.type != FieldDescriptor.TYPE_STRING}
        self._camel = {field.json_name: field for field in fields if field.json_name != field.name}
        aliases = [(dialect.json_alias(field), field.name) for field in fields]
        self._aliases = [(alias, name) for alias, name in aliases if alias]

    def fill(self, message: Any, values: Any, path: str) -> None:
        """Set the fields of a message; `path` is that of the object, ending in a dot unless it is empty.

        An empty text is absent where a number is required, as MLflow looks for it before it knows of types.
        """
        if type(values) is not dict:
            raise complaints.invalid(values, path[:-1])
        for name, value in values.items():
            assign = self._assign.get(name)
            if assign is None:
                self._fill_other(message, name, values, path)
            elif value is not None and not (value == "" and name in self._required_numbers):
                assign(message, value, path + name)
        for alias, name in self._aliases:
            if values.get(alias) is not None and values.get(name) is None:
                self._assign[name](message, values[alias], path + alias)

    def assign(self, message: Any, name: str, text: str) -> None:
        """Set a field to the text of a path or a header, which may hold what was no UTF-8. Raises InvalidArgument."""
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise InvalidArgument(f"The value of '{name}' is not valid UTF-8.")
        assign = self._assign.get(name) or self._assign_header[name]
        assign(message, text, name)

    def _fill_other(self, message: Any, name: str, values: dict[str, Any], path: str) -> None:
        field = self._camel.get(name)
        if field is not None and field.name in values:
            raise complaints.both_spellings(field)
        if field is None or (not path and is_required(field)):
            complaints.check_nesting(values[name], path)
        elif values[name] is not None:
            self._assign[field.name](message, values[name], path + field.name)


@cache
def _fields_of(descriptor: Descriptor) -> _Fields:
    return _Fields(descriptor)


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
    column = tables.Column(field)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not list:
            raise complaints.invalid(value, path)
        if not column.take(message, value):
            column.put(message, [_converted(column, item, value, path) for item in value])

    return assign


def _converted(column: tables.Column, item: Any, value: list[Any], path: str) -> Any:
    try:
        return column.convert(item, path)
    except complaints.WrongType:
        # MLflow complains of the list, not of its item.
        raise complaints.invalid(value, path) from None


def _message(field: FieldDescriptor) -> Assign:
    name, fields = field.name, _fields_of(field.message_type)

    def assign(message: Any, value: Any, path: str) -> None:
        part = getattr(message, name)
        part.SetInParent()
        fields.fill(part, value, f"{path}.")

    return assign


def _messages(field: FieldDescriptor) -> Assign:
    assert field.message_type is not None
    if dialect.is_table(field.message_type) or dialect.is_well_known(field.message_type):
        raise dialect.DialectError(f"{field.full_name} repeats a message that has no JSON form in a list here")
    name, fields = field.name, _fields_of(field.message_type)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not list:
            raise complaints.invalid(value, path)
        parts = getattr(message, name)
        for index, item in enumerate(value):
            fields.fill(parts.add(), item, f"{path}[{index}].")

    return assign


def _well_known(field: FieldDescriptor) -> Assign:
    name = field.name

    def assign(message: Any, value: Any, path: str) -> None:
        complaints.check_nesting(value, path)
        part = getattr(message, name)
        part.SetInParent()
        try:
            json_format.ParseDict(value, part)
        except json_format.ParseError:
            raise complaints.invalid(value, path) from None

    return assign


def _map(field: FieldDescriptor) -> Assign:
    name = field.name
    key, convert = _map_converters(field)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not dict:
            raise complaints.invalid(value, path)
        entries = getattr(message, name)
        for text, item in value.items():
            entries[key(text, path)] = convert(item, f"{path}.{text}")

    return assign


def _entries(field: FieldDescriptor) -> Assign:
    name = field.name
    key, convert = _map_converters(field)

    def assign(message: Any, value: Any, path: str) -> None:
        if type(value) is not list:
            raise complaints.invalid(value, path)
        entries = getattr(message, name)
        for index, item in enumerate(value):
            if type(item) is not dict:
                raise complaints.invalid(item, f"{path}[{index}]")
            if item.get("key") in (None, ""):
                raise missing(f"{path}[{index}].key")
            name_of_entry = key(item["key"], f"{path}[{index}].key")
            if name_of_entry in entries:
                raise InvalidArgument(f"Duplicate keys have been submitted in '{path}': ['{name_of_entry[:250]}'].")
            given = item.get("value")
            entries[name_of_entry] = "" if given is None else convert(given, f"{path}[{index}].value")

    return assign


def _map_converters(field: FieldDescriptor) -> tuple[scalars.Convert, scalars.Convert]:
    assert field.message_type is not None
    entry = field.message_type.fields_by_name
    if entry["key"].type != FieldDescriptor.TYPE_STRING or entry["value"].type != FieldDescriptor.TYPE_STRING:
        raise dialect.DialectError(f"{field.full_name} is a map of other things than text")
    return scalars.converter(entry["key"]), scalars.converter(entry["value"])


def _table(field: FieldDescriptor) -> Assign:
    name, table = field.name, tables.table_of(field.message_type)

    def assign(message: Any, value: Any, path: str) -> None:
        part = getattr(message, name)
        part.SetInParent()
        table.fill(part, value, path)

    return assign
