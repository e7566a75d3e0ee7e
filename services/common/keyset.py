"""Pages by key: ORDER BY, and the condition that holds for the rows after the last one of a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, String, and_, false, or_


@dataclass(frozen=True, slots=True)
class SortColumn:
    """One key of an order. NULL comes last, whether ascending or descending."""

    expression: ColumnElement[Any]
    ascending: bool
    nullable: bool = False


def sort_column(column: ColumnElement[Any], ascending: bool, *, nullable: bool | None = None) -> SortColumn:
    """Return the key that sorts by a table's column; text by code point, whatever the database's collation.

    `nullable` is what the column's declaration says unless given, as for the outer side of a join.
    """
    may_be_null = bool(getattr(column, "nullable", True)) if nullable is None else nullable
    is_text = isinstance(column.type, String)
    return SortColumn(column.collate("C") if is_text else column, ascending, may_be_null)


def labelled(columns: Sequence[SortColumn]) -> list[ColumnElement[Any]]:
    """Return what to select besides a row's own columns, so that its position is known."""
    return [column.expression.label(f"sort_{index}") for index, column in enumerate(columns)]


def order_by(columns: Sequence[SortColumn]) -> list[ColumnElement[Any]]:
    """Return the ORDER BY terms; the last column must be unique."""
    terms: list[ColumnElement[Any]] = []
    for column in columns:
        term = column.expression.asc() if column.ascending else column.expression.desc()
        terms.append(term.nulls_last() if column.nullable else term)
    return terms


def after(columns: Sequence[SortColumn], position: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a row comes strictly after `position`: one value a column, None for NULL."""
    condition: ColumnElement[bool] = false()
    for column, value in reversed(list(zip(columns, position, strict=True))):
        condition = or_(_beyond(column, value), and_(_equal(column, value), condition))
    return condition if columns[0].nullable else and_(_not_before(columns[0], position[0]), condition)


def _not_before(column: SortColumn, value: Any) -> ColumnElement[bool]:
    # It follows from the rest, but the planner does not see that, and would read an index from its beginning.
    bound: ColumnElement[bool] = column.expression >= value if column.ascending else column.expression <= value
    return bound


def _beyond(column: SortColumn, value: Any) -> ColumnElement[bool]:
    if value is None:
        return false()
    further = column.expression > value if column.ascending else column.expression < value
    return or_(further, column.expression.is_(None)) if column.nullable else further


def _equal(column: SortColumn, value: Any) -> ColumnElement[bool]:
    return column.expression.is_(None) if value is None else column.expression == value
