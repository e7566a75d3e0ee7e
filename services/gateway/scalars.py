"""Turns single JSON values into what a protobuf field takes, as MLflow's parser does, or says exactly what is wrong."""

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from services.common.errors import InvalidArgument
from services.gateway import limits
from services.gateway.dialect import INTEGER_RANGES, NON_FINITE, DialectError

# Takes a JSON value that is not null and its path, as `metrics[0].value`. Raises InvalidArgument.
Convert = Callable[[Any, str], Any]

SEE_DOCS = "See the API docs for more information about request parameters."

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_NUMBER_LENGTH_MAX = 400


def converter(field: FieldDescriptor) -> Convert:
    """Return the conversion for one value of a scalar field. Raises DialectError for a type without one."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _double
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _boolean
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes
    if field.type in INTEGER_RANGES:
        return _integer(*INTEGER_RANGES[field.type])
    raise DialectError(f"{field.full_name} has a type without a JSON form here")


def invalid(value: Any, path: str) -> InvalidArgument:
    """Return the error for a value of the wrong type, worded as MLflow 3.18 does (handlers.py)."""
    check_nesting(value, path)
    return InvalidArgument(
        f"Invalid value {_quoted(value)} for parameter '{path}' supplied:  "
        f"Hint: Value was of type '{type(value).__name__}'. {SEE_DOCS}"
    )


def missing(path: str) -> InvalidArgument:
    """Return the error for an absent required value, worded as MLflow 3.18 does (handlers.py)."""
    return InvalidArgument(f"Missing value for required parameter '{path}'. {SEE_DOCS}")


def check_nesting(value: Any, path: str) -> None:
    """Walk a value that no field takes, so that whoever prints it need not fear its depth. Raises InvalidArgument."""
    depth = 1 + path.count(".") + path.count("[")
    level = [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        if depth > limits.NESTING_MAX:
            raise too_deep()
        level = [inner for outer in level for inner in _children(outer) if isinstance(inner, dict | list)]


def too_deep() -> InvalidArgument:
    """Return the error for a body that is nested too deep."""
    return InvalidArgument(f"The request body is nested deeper than {limits.NESTING_MAX} levels.")


def nul(path: str) -> InvalidArgument:
    """Return the error for text with a NUL, which no column can hold."""
    return InvalidArgument(f"'{path}' cannot contain NUL (0x00) characters")


def _children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _quoted(value: Any) -> str:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if len(text) <= limits.QUOTED_LENGTH_MAX:
        return text
    return f"{text[: limits.QUOTED_LENGTH_MAX]}... ({len(text)} characters)"


def _text(value: Any, path: str) -> str:
    if type(value) is not str:
        raise invalid(value, path)
    if "\0" in value:
        raise nul(path)
    return value


def _double(value: Any, path: str) -> float:
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        raise invalid(value, path)
    if value in NON_FINITE:
        return NON_FINITE[value]
    if len(value) > _NUMBER_LENGTH_MAX or not _NUMBER.fullmatch(value) or math.isinf(float(value)):
        raise invalid(value, path)
    return float(value)


def _boolean(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise invalid(value, path)
    return value


def _bytes(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(_text(value, path), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(value, path) from None


def _integer(least: int, greatest: int) -> Convert:
    def convert(value: Any, path: str) -> int:
        number = _whole(value)
        if number is None or not least <= number <= greatest:
            raise invalid(value, path)
        return number

    return convert


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return None


def _enum(enum: EnumDescriptor) -> Convert:
    by_name = {name: value.number for name, value in enum.values_by_name.items()}
    numbers = frozenset(enum.values_by_number)

    def convert(value: Any, path: str) -> int:
        number = by_name.get(value) if isinstance(value, str) else None
        if number is None:
            number = _whole(value)
        if number not in numbers:
            raise invalid(value, path)
        return number

    return convert
