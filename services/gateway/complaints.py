"""What is wrong with a request's JSON, in MLflow 3.18's words where it has some (handlers.py)."""

import json
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor

from services.common.errors import InvalidArgument
from services.gateway import limits

_SEE_DOCS = "See the API docs for more information about request parameters."


class WrongType(InvalidArgument):
    """A value is not what its field takes."""


def invalid(value: Any, path: str) -> WrongType:
    """Return the error for a value of the wrong type."""
    check_nesting(value, path)
    return WrongType(
        f"Invalid value {_quoted(value)} for parameter '{path}' supplied:  "
        f"Hint: Value was of type '{type(value).__name__}'. {_SEE_DOCS}"
    )


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


def both_spellings(field: FieldDescriptor) -> InvalidArgument:
    """Return the error for an object that has a field by both its names."""
    return InvalidArgument(f"Request specifies both '{field.name}' and '{field.json_name}'; provide only one of them.")


def _children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _quoted(value: Any) -> str:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if len(text) <= limits.QUOTED_LENGTH_MAX:
        # The standard library takes long over large values, and writes short ones exactly as MLflow does.
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return f"{text[: limits.QUOTED_LENGTH_MAX]}... ({len(text)} characters)"
