"""Puts lists of JSON values, and lists of row objects, into the columns of a message.

A column goes to protobuf as a whole, which checks its types; only a column that it refuses is gone through value by
value, for the exact conversion or the exact complaint.
"""

from collections.abc import Iterable
from functools import cache
from operator import itemgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.common.rpc.checks import is_required, missing
from services.gateway import complaints, dialect, scalars


class Column:
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


class Table:
    """Fills messages of columns from lists of row objects."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._columns = {field.name: Column(field) for field in descriptor.fields}
        self._names = frozenset(self._columns)
        self._required = frozenset(name for name, column in self._columns.items() if column.is_required)
        self._camel = {field.json_name: field for field in descriptor.fields if field.json_name != field.name}

    def fill(self, message: Any, rows: Any, path: str) -> None:
        if type(rows) is not list:
            raise complaints.invalid(rows, path)
        if rows and not self._fill_alike(message, rows):
            message.Clear()
            message.SetInParent()
            self._fill_exactly(message, rows, path)

    def _fill_alike(self, message: Any, rows: list[Any]) -> bool:
        """Fill from rows that all have the same known names and plain values; else return False."""
        names = frozenset(rows[0] if type(rows[0]) is dict else ())
        if not self._required <= names <= self._names:
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
            raise complaints.invalid(row, path)
        values = {}
        for given, value in row.items():
            name = self._column_name(given, row)
            if name is None:
                complaints.check_nesting(value, f"{path}.")
            elif value is not None and not (value == "" and name in self._required):
                values[name] = self._columns[name].convert(value, f"{path}.{name}")
        for name in self._columns:
            if name in self._required and name not in values:
                raise missing(f"{path}.{name}")
        return values

    def _column_name(self, given: str, row: dict[str, Any]) -> str | None:
        field = self._camel.get(given)
        if field is None:
            return given if given in self._columns else None
        if field.name in row:
            raise complaints.both_spellings(field)
        return field.name


@cache
def table_of(descriptor: Descriptor) -> Table:
    """Return the one Table of a message type."""
    return Table(descriptor)
