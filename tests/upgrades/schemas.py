"""The services' schemas: where their migrations are, what a database has of one, and histories that go on."""

import shutil
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy

from services.artifacts.__main__ import MIGRATIONS as ARTIFACTS
from services.common.database import parse_url
from services.common.readiness import newest_revision
from services.local.postgres import EmbeddedPostgres
from services.registry.__main__ import MIGRATIONS as REGISTRY
from services.tracking.__main__ import MIGRATIONS as TRACKING

MIGRATIONS = {"tracking": TRACKING, "artifacts": ARTIFACTS, "registry": REGISTRY}
_OWN = "alembic_version"

_TABLES = """
    SELECT relname, relfilenode, coalesce(reloptions::text, '') || coalesce(relacl::text, '')
    FROM pg_class
    WHERE relnamespace = to_regnamespace(:schema) AND relkind IN ('r', 'p')
"""
_COLUMNS = """
    SELECT
        relname || '.' || attname,
        relname,
        attnum,
        format_type(atttypid, atttypmod) || coalesce(' COLLATE ' || collname, '') || attstorage::text,
        attnotnull,
        coalesce(pg_get_expr(adbin, adrelid), '') || attidentity::text || attgenerated::text
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    WHERE relnamespace = to_regnamespace(:schema) AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
"""
# Of NOT NULL the columns tell.
_CONSTRAINTS = """
    SELECT
        relname || '.' || conname,
        relname,
        contype::text,
        pg_get_constraintdef(pg_constraint.oid),
        convalidated,
        ARRAY(
            SELECT attname::text
            FROM pg_attribute
            WHERE attrelid = conrelid AND attnum = ANY (conkey)
            ORDER BY attnum
        )
    FROM pg_constraint
    JOIN pg_class ON pg_class.oid = conrelid
    WHERE relnamespace = to_regnamespace(:schema) AND contype <> 'n'
"""
_INDEXES = """
    SELECT
        owner.relname || '.' || pg_class.relname,
        owner.relname,
        pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' INVALID' END,
        indisunique,
        ARRAY(
            SELECT attname::text
            FROM pg_attribute
            WHERE attrelid = indrelid AND attnum = ANY (indkey)
            ORDER BY attnum
        )
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indexrelid
    JOIN pg_class AS owner ON owner.oid = indrelid
    WHERE owner.relnamespace = to_regnamespace(:schema)
"""


@dataclass(frozen=True)
class Table:
    """`file` is another one when the table was rewritten."""

    file: int
    options: str


@dataclass(frozen=True)
class Column:
    table: str
    place: int
    type: str
    not_null: bool
    default: str


@dataclass(frozen=True)
class Constraint:
    table: str
    kind: str
    definition: str
    is_valid: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    table: str
    definition: str
    is_unique: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Catalog:
    """What a schema consists of, each under its name: `runs`, `runs.user_id`."""

    tables: dict[str, Table]
    columns: dict[str, Column]
    constraints: dict[str, Constraint]
    indexes: dict[str, Index]

    def shape(self) -> list[str]:
        """Return it as lines that are equal for schemas that were built alike."""
        lines = [f"table {name} {table.options}" for name, table in self.tables.items()]
        for things in (self.columns, self.constraints, self.indexes):
            lines += [f"{name} {astuple(thing)}" for name, thing in things.items()]
        return sorted(lines)


def catalog(url: str, schema: str) -> Catalog:
    """Read what a database has of a schema, without alembic's own table."""
    engine = sqlalchemy.create_engine(parse_url(url), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:

        def read(query: str) -> Iterator[tuple[object, ...]]:
            for row in connection.execute(sqlalchemy.text(query), {"schema": schema}):
                values = tuple(tuple(value) if isinstance(value, list) else value for value in row)
                if _OWN not in (str(values[0]), values[1]):
                    yield values

        return Catalog(
            tables={name: Table(*rest) for name, *rest in read(_TABLES)},
            columns={name: Column(*rest) for name, *rest in read(_COLUMNS)},
            constraints={name: Constraint(*rest) for name, *rest in read(_CONSTRAINTS)},
            indexes={name: Index(*rest) for name, *rest in read(_INDEXES)},
        )


def empty(postgres: EmbeddedPostgres, schema: str) -> str:
    """Make a service's schema anew, with nothing in it, and return the URL of its role."""
    execute(postgres.url(), f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    execute(postgres.url(), f"CREATE SCHEMA {schema} AUTHORIZATION {schema}")
    return postgres.url(schema)


def execute(url: str, statement: str) -> None:
    engine = sqlalchemy.create_engine(parse_url(url), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def scalar(url: str, query: str) -> Any:
    engine = sqlalchemy.create_engine(parse_url(url), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar()


def revisions(scripts: Path) -> list[str]:
    """Return the revisions of a folder of migrations, from the first to the newest."""
    return sorted(path.name.partition("_")[0] for path in (scripts / "versions").glob("[0-9]*_*.py"))


def followed(scripts: Path, folder: Path, upgrade: str, *, head: str = "") -> Path:
    """Copy a service's migrations into `folder` with one more, whose `upgrade` has these lines. Return the copy."""
    copy = Path(shutil.copytree(scripts, folder / "migrations", ignore=shutil.ignore_patterns("__pycache__")))
    add_migration(copy, upgrade, head=head)
    return copy


def add_migration(scripts: Path, upgrade: str, *, head: str = "") -> str:
    """Write one more migration, and return its revision."""
    newest = newest_revision(scripts)
    revision = f"{int(newest) + 1:04}"
    body = "".join(f"    {line}\n" for line in upgrade.strip().splitlines())
    (scripts / "versions" / f"{revision}_next.py").write_text(
        f"from alembic import op\n\nfrom services.common import migrations\n\n{head}\nrevision = {revision!r}\n"
        f"down_revision = {newest!r}\n\n\ndef upgrade() -> None:\n{body}",
        encoding="utf-8",
    )
    return revision
