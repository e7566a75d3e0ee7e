"""Turns single JSON values into what a protobuf field takes, as MLflow's parser does, or says exactly what is wrong."""

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from services.gateway import complaints
from services.gateway.dialect import INTEGER_RANGES, DialectError

# Takes a JSON value that is not null and its path, as `metrics[0].value`. Raises InvalidArgument.
Convert = Callable[[Any, str], Any]

_SEE_DOCS = "See the API docs for more information about request parameters."
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_NUMBER_LENGTH_MAX = 400


def converter(field: FieldDescriptor) -> Convert:
    """Return the conversion for one value of a scalar field. Raises DialectError for a type without one."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _double
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _boolean
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes
    if field.type in INTEGER_RANGES:
        return _integer(*INTEGER_RANGES[field.type])
    raise DialectError(f"{field.full_name} has a type without a JSON form here")


def _text(value: Any, path: str) -> str:
    if type(value) is not str:
        raise complaints.invalid(value, path)
    if "\0" in value:
        raise complaints.nul(path)
    return value


def _double(value: Any, path: str) -> float:
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        raise complaints.invalid(value, path)
    try:
        # Texts of numbers are as loose as in MLflow, where "1e400" is Infinity; only NaN is to be spelled so.
        number = float(value) if len(value) <= _NUMBER_LENGTH_MAX else math.nan
    except ValueError:
        number = math.nan
    if math.isnan(number) and value != "NaN":
        raise complaints.invalid(value, path)
    return number


def _boolean(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise complaints.invalid(value, path)
    return value


def _bytes(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(_text(value, path), validate=True)
    except (binascii.Error, ValueError):
        raise complaints.invalid(value, path) from None


def _integer(least: int, greatest: int) -> Convert:
    def convert(value: Any, path: str) -> int:
        number = _whole(value)
        if number is None or not least <= number <= greatest:
            raise complaints.invalid(value, path)
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
            raise complaints.invalid(value, path)
        return number

    return convert
