"""What a GraphQL query asks for, once it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class QueryError(Exception):
    """A query cannot be answered. The text is for who sent it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field that is asked for, under the name that it has in the answer. Arguments have their values."""

    name: str
    key: str
    arguments: Mapping[str, Any]
    selections: tuple["Field", ...]
