"""Pages by key hold every row once, in order, whatever the order, with NULLs last and with ties."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Connection, Double, Integer, MetaData, Table, Text, create_engine, select
from sqlalchemy.dialects import postgresql

from services.common import keyset
from services.common.keyset import SortColumn

_ROWS = Table(
    "rows",
    MetaData(),
    Column("number", BigInteger, nullable=False),
    Column("fraction", Double),
    Column("name", Text),
    Column("id", Integer, primary_key=True),
)
_NAMES = ["number", "fraction", "name"]

Row = dict[str, Any]
Order = tuple[tuple[str, bool], ...]


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A database that compares text by code point, as the stores ask Postgres to."""
    with create_engine("sqlite://").connect() as connection:
        _ROWS.metadata.create_all(connection)
        yield connection


def _sort(order: Order) -> list[SortColumn]:
    return [
        SortColumn(_ROWS.c[name], is_ascending, nullable=bool(_ROWS.c[name].nullable)) for name, is_ascending in order
    ]


def _compare(order: Order, one: Row, other: Row) -> int:
    for name, is_ascending in order:
        left, right = one[name], other[name]
        if left == right:
            continue
        if left is None or right is None:
            return 1 if left is None else -1
        return 1 if (left > right) == is_ascending else -1
    return 0


def _in_order(rows: Sequence[Row], order: Order) -> list[int]:
    return [row["id"] for row in sorted(rows, key=functools.cmp_to_key(functools.partial(_compare, order)))]


# Few values, so that there are many ties.
_TABLES = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.sampled_from([-(2**63), -1, 0, 2**63 - 1]),
            "fraction": st.sampled_from([None, -1.5, 0.0, 1e300]),
            "name": st.sampled_from([None, "", "a", "B", "é"]),
        }
    ),
    max_size=12,
).map(lambda rows: [{**row, "id": index} for index, row in enumerate(rows)])
_ORDERS = st.tuples(
    st.lists(st.sampled_from(_NAMES), unique=True), st.lists(st.booleans(), min_size=4, max_size=4)
).map(lambda drawn: tuple(zip([*drawn[0], "id"], drawn[1], strict=False)))


def _fill(connection: Connection, rows: Sequence[Row]) -> None:
    connection.execute(_ROWS.delete())
    if rows:
        connection.execute(_ROWS.insert(), rows)


@given(rows=_TABLES, order=_ORDERS)
def test_rows_come_as_python_sorts_them(connection: Connection, rows: list[Row], order: Order) -> None:
    _fill(connection, rows)

    found = connection.execute(select(_ROWS.c.id).order_by(*keyset.order_by(_sort(order)))).scalars().all()

    assert found == _in_order(rows, order)


@given(rows=_TABLES, order=_ORDERS)
def test_after_a_row_come_the_rows_behind_it(connection: Connection, rows: list[Row], order: Order) -> None:
    _fill(connection, rows)
    expected = _in_order(rows, order)
    by_id = {row["id"]: row for row in rows}
    columns = _sort(order)

    for index, row_id in enumerate(expected):
        position = tuple(by_id[row_id][name] for name, _ in order)
        behind = select(_ROWS.c.id).where(keyset.after(columns, position)).order_by(*keyset.order_by(columns))
        assert connection.execute(behind).scalars().all() == expected[index + 1 :]


@given(rows=_TABLES, order=_ORDERS, removed=st.integers(0, 11))
def test_after_a_row_that_is_gone_come_the_same_rows(
    connection: Connection, rows: list[Row], order: Order, removed: int
) -> None:
    expected = _in_order(rows, order)
    if removed >= len(rows):
        return
    _fill(connection, [row for row in rows if row["id"] != removed])
    position = tuple(rows[removed][name] for name, _ in order)

    found = connection.execute(select(_ROWS.c.id).where(keyset.after(_sort(order), position))).scalars().all()

    assert sorted(found) == sorted(expected[expected.index(removed) + 1 :])


def test_position_goes_as_bound_parameters_of_the_columns_types() -> None:
    columns = _sort((("number", False), ("fraction", True), ("name", True), ("id", True)))

    condition = keyset.after(columns, (1, 2.5, "x' OR 1=1", 4)).compile(
        dialect=postgresql.dialect()  # type: ignore[no-untyped-call]
    )

    types = {value: type(condition.binds[name].type) for name, value in condition.params.items()}
    assert types == {1: BigInteger, 2.5: Double, "x' OR 1=1": Text, 4: Integer}
    assert "OR 1=1" not in str(condition)


def test_position_of_another_length_is_our_bug() -> None:
    with pytest.raises(ValueError, match="zip"):
        keyset.after(_sort((("number", True), ("id", True))), (1,))
