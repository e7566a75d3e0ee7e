"""What a migration may do while the release before serves: it adds, and nobody has to wait for it.

Told from what it does to a real Postgres: the catalog before and after, and the locks that its transactions hold at
their ends. What is new may be as it likes.

A migration that takes something away says in `contracts` of what, and which release was the first that did without:
`contracts = {"runs.user_name": "0.3.0"}`. That release must be out: the one before this one then does without as well.
"""

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event

from services.common import migrations
from tests.upgrades.schemas import Catalog, catalog, revisions

# With the time for which each is waited, this stays below Postgres' `deadlock_timeout`.
LOCKED_TABLES_MAX = 3

_LOCKS = """
    SELECT relname, mode
    FROM pg_locks
    JOIN pg_class ON pg_class.oid = relation
    WHERE pid = pg_backend_pid() AND granted AND relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
"""
_LOCKS_OUT_WRITERS = {"ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"}
_CHECK, _VALIDATED = "c", ("c", "f")

Violation = tuple[str, str]
"""The thing, as `runs.user_id`, and what is wrong about it."""


@dataclass
class Work:
    """What a migration was seen to do: the locks that each transaction held at its end, by table, and statements."""

    locks: list[set[tuple[str, str]]] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    def writes(self) -> set[str]:
        return {table for held in self.locks for table, mode in held if mode == "RowExclusiveLock"}

    def most_locked(self, tables: set[str]) -> set[str]:
        """Of the given tables those that one transaction kept from being written to, where these are most."""
        each = [{table for table, mode in held if mode in _LOCKS_OUT_WRITERS} & tables for held in self.locks]
        return max(each, key=len, default=set())

    def built_concurrently(self, index: str) -> bool:
        return any(f"INDEX CONCURRENTLY {index.partition('.')[2]} " in statement for statement in self.statements)


@contextlib.contextmanager
def watching() -> Iterator[Work]:
    """Watch what is done in this process by way of SQLAlchemy, for the length of a block."""
    work = Work()

    def at_commit(connection: sqlalchemy.Connection) -> None:
        with connection.connection.cursor() as cursor:
            cursor.execute(_LOCKS)
            work.locks.append(set(cursor.fetchall()))

    def at_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        work.statements.append(statement)

    event.listen(sqlalchemy.Engine, "commit", at_commit)
    event.listen(sqlalchemy.Engine, "before_cursor_execute", at_statement)
    try:
        yield work
    finally:
        event.remove(sqlalchemy.Engine, "commit", at_commit)
        event.remove(sqlalchemy.Engine, "before_cursor_execute", at_statement)


def complaints(url: str, schema: str, scripts: Path, *, released: str, since: str = "") -> list[str]:
    """Run the migrations after the revision `since`, one by one, and return what is wrong with them as sentences."""
    found = []
    for revision in revisions(scripts):
        before = catalog(url, schema)
        with watching() as work:
            migrations.upgrade(url, schema=schema, scripts=scripts, to=revision)
        if revision > since:
            violations = list(_violations(before, catalog(url, schema), work))
            found += [
                f"{schema} {revision}: {text}" for text in _judged(violations, _contracts(scripts, revision), released)
            ]
    return found


def _judged(violations: list[Violation], contracts: Mapping[str, str], released: str) -> Iterator[str]:
    for thing, sentence in violations:
        if thing not in contracts:
            yield f"{thing} {sentence}"
        elif _parts(contracts[thing]) > _parts(released):
            yield (
                f"{thing} {sentence}: release {contracts[thing]} is the first that stands it, and the newest that is "
                f"out is {released}"
            )
    for thing in contracts.keys() - {thing for thing, _ in violations}:
        yield f"{thing} is said to be a contract, and nothing is taken away from it"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _contracts(scripts: Path, revision: str) -> Mapping[str, str]:
    [path] = (scripts / "versions").glob(f"{revision}_*.py")
    spec = importlib.util.spec_from_file_location(f"migration_{revision}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "contracts", {})


def _violations(before: Catalog, after: Catalog, work: Work) -> Iterator[Violation]:
    yield from _of_tables(before, after, work)
    yield from _of_columns(before, after)
    yield from _of_constraints(before, after)
    yield from _of_indexes(before, after, work)


def _of_tables(before: Catalog, after: Catalog, work: Work) -> Iterator[Violation]:
    for name, table in before.tables.items():
        now = after.tables.get(name)
        if now is None:
            yield name, "is gone or has another name"
        elif now.file != table.file:
            yield name, "is rewritten, and nobody can read it meanwhile"
        elif now.options != table.options:
            yield name, f"has other options or rights: {table.options} became {now.options}"
    for name in sorted(work.writes() & before.tables.keys()):
        yield name, "has rows written in the migration's transaction: back-fill in batches, from the service"
    if len(locked := work.most_locked(set(before.tables))) > LOCKED_TABLES_MAX:
        yield ", ".join(sorted(locked)), f"are locked in one transaction: more than {LOCKED_TABLES_MAX} of what exists"


def _of_columns(before: Catalog, after: Catalog) -> Iterator[Violation]:
    for name, column in before.columns.items():
        now = after.columns.get(name)
        if column.table not in after.tables:
            continue
        if now is None:
            yield name, "is gone or has another name"
        elif now != column:
            yield name, f"changed: {column} became {now}"
    for name, column in _new(before.columns, after.columns, before):
        if column.not_null and not column.default:
            yield name, "is NOT NULL without a default: the release before inserts rows without it"


def _of_constraints(before: Catalog, after: Catalog) -> Iterator[Violation]:
    for name, constraint in before.constraints.items():
        now = after.constraints.get(name)
        # What refused rows may go; what finds them, or makes them follow others, is relied on.
        if constraint.table in after.tables and now != constraint and (now is not None or constraint.kind != _CHECK):
            yield name, f"changed: {constraint.definition} became {now and now.definition}"
    for name, constraint in _new(before.constraints, after.constraints, before):
        if not _only_new(constraint.table, constraint.columns, before):
            yield name, "refuses what the release before may write"
        elif constraint.kind in _VALIDATED and constraint.is_valid:
            yield (
                name,
                "is checked for every row while nobody can write: add it NOT VALID, validate it in a migration later",
            )


def _of_indexes(before: Catalog, after: Catalog, work: Work) -> Iterator[Violation]:
    for name, index in before.indexes.items():
        if index.table in after.tables and after.indexes.get(name) != index:
            yield name, "is gone, or is another one: statements of the release before want it"
    for name, index in _new(before.indexes, after.indexes, before):
        if not work.built_concurrently(name):
            yield name, "is built while nobody can write: use migrations.build_index, in a migration of its own"
        if index.is_unique and not _only_new(index.table, index.columns, before):
            yield name, "refuses what the release before may write"


def _new(then: Mapping[str, Any], now: Mapping[str, Any], before: Catalog) -> Iterator[tuple[str, Any]]:
    """What there is now and was not, on tables that were."""
    return ((name, thing) for name, thing in now.items() if name not in then and thing.table in before.tables)


def _only_new(table: str, columns: tuple[str, ...], before: Catalog) -> bool:
    return bool(columns) and not any(f"{table}.{column}" in before.columns for column in columns)
