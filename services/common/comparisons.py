"""Turns one comparison of a filter into a SQL condition with bound parameters."""

import operator
from typing import Any

from sqlalchemy import ColumnElement, Double, FromClause, Join, Select, any_, func, literal, select

_OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    # No character escapes another, as in MLflow's default store.
    "LIKE": lambda column, value: column.like(value, escape=""),
    "ILIKE": lambda column, value: column.ilike(value, escape=""),
    "IN": lambda column, value: column.in_(value),
    "NOT IN": lambda column, value: column.not_in(value),
}


def has_row(source: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a row of `source` meets conditions on it and on the row that the outer query looks at.

    Not EXISTS: the planner turns each of those into a join, and its time grows exponentially with their number.
    """
    found = select(literal(1)).select_from(source).where(*conditions).limit(1)
    return found.correlate_except(*_tables(source)).scalar_subquery().is_not(None)


def is_found(column: ColumnElement[Any], query: Select[Any]) -> ColumnElement[bool]:
    """Return whether a column's value is among those that a query of its own finds, which is asked once.

    An array and not IN, which the planner turns into a join, as above. It pays where the query finds few.
    """
    return column == any_(func.array(query.correlate(None).scalar_subquery()))


def _tables(source: FromClause) -> tuple[FromClause, ...]:
    return (source.left, source.right) if isinstance(source, Join) else (source,)


def compare(column: ColumnElement[Any], op: str, value: Any) -> ColumnElement[bool]:
    """Return `column op value` for an operator of `services.common.filters` other than IS [NOT] NULL."""
    # A fraction compared with an integer column must not be rounded to it.
    operand = literal(value, Double()) if isinstance(value, float) else value
    return _OPERATORS[op](column, operand)  # type: ignore[no-any-return, no-untyped-call]
