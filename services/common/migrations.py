"""Brings a service's schema to the newest version: alembic under an advisory lock, one history per schema."""

import contextlib
import logging
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy
from alembic import command, op
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, exc

from services.common import lock_waits
from services.common.database import parse_url
from services.common.errors import Unavailable
from services.common.lock_waits import LockWaits
from services.common.readiness import newest_revision

# Whoever comes after a statement that waits for a table waits behind it: so it gives up soon, lets them pass, and tries
# again. Three such waits end before Postgres looks for deadlocks (1 s), so that no request is chosen as the victim.
LOCK_TIMEOUT_S = 0.3
LOCK_PAUSE_S = 2.0
LOCK_WAIT_MAX_S = 600.0
STATEMENT_TIMEOUT_S = 5
WAIT_FOR_DATABASE_S = 60
_POLL_S = 0.05

# Postgres takes a runner that died, or whose machine did, for gone within seconds, and with it its locks.
_SESSION = {
    "options": "-c client_connection_check_interval=1s -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 "
    "-c tcp_keepalives_count=3",
    "application_name": "modelstead migrate",
}
# What a lock that was not granted in time, and a deadlock, are called.
_GAVE_WAY = ("55P03", "40P01")
_IS_WHOLE = sqlalchemy.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")

_log = logging.getLogger("modelstead.migrations")


def upgrade(
    url: str, *, schema: str, scripts: Path, to: str | None = None, lock_wait_max_s: float = LOCK_WAIT_MAX_S
) -> None:
    """Wait for the database, then run every migration in `scripts` that `schema` does not have yet, up to the revision
    `to` and with it. A schema that a newer release has migrated stays as it is.

    One runner at a time works; the others wait for it and find nothing to do. A runner that is killed leaves the
    schema at the last complete migration. One that waits says for whom. Raises Unavailable if the database does not
    answer within 60 s, and if a table is not free at any try within `lock_wait_max_s`.
    """
    engine = _engine(url)
    with _connect(engine) as connection, LockWaits(engine, connection, subject=schema) as waits:
        _take_turn(connection, schema)
        _create_schema(connection, schema)
        connection.execute(sqlalchemy.text(f"SET search_path = {schema}"))
        _limit_waits(connection)
        revision = to or newest_revision(scripts)
        deadline = time.monotonic() + lock_wait_max_s
        while (_revision(connection, schema) or "") < revision:
            with _giving_way(connection, waits, deadline):
                command.upgrade(_config(connection, schema, scripts), revision)
        _log.info("schema is current", extra={"schema": schema, "revision": revision})


def current(url: str, *, schema: str) -> str | None:
    """Wait for the database, then return the revision of `schema`, None if it has none. Raises Unavailable."""
    with _connect(_engine(url)) as connection:
        return _revision(connection, schema)


def build_index(name: str, definition: str, *, unique: bool = False) -> None:
    """Within a migration that does nothing else, build an index of a table that is in use, such as
    `ON runs (user_id)`. Others read and write meanwhile, and it takes as long as it takes.

    One that an earlier runner did not finish is built anew, one that it did stays.
    """
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        is_whole = connection.scalar(_IS_WHOLE, {"name": name})
        if is_whole:
            return
        # It waits for transactions to end that began before it, and nobody waits behind it.
        connection.execute(sqlalchemy.text("SET lock_timeout = 0; SET statement_timeout = 0"))
        try:
            if is_whole is not None:
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} {definition}")
        finally:
            _limit_waits(connection, commit=False)


def _revision(connection: Connection, schema: str) -> str | None:
    """Return how far a schema has come, and leave no transaction open: alembic would take it for that of all its work,
    and each migration has one of its own.
    """
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    revision = context.get_current_revision()
    connection.rollback()
    return revision


def _config(connection: Connection, schema: str, scripts: Path) -> Config:
    config = Config(attributes={"connection": connection, "schema": schema})
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(parse_url(url), poolclass=sqlalchemy.NullPool, connect_args=_SESSION)


def _connect(engine: sqlalchemy.Engine) -> Connection:
    deadline = time.monotonic() + WAIT_FOR_DATABASE_S
    while True:
        try:
            return engine.connect()
        except exc.OperationalError as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"The database did not answer within {WAIT_FOR_DATABASE_S} s.") from error
            time.sleep(_POLL_S)


def _take_turn(connection: Connection, schema: str) -> None:
    """Wait until no other runner works on the schema; the turn ends with the connection.

    Asked for again and again, for a statement that waits would hold up an index that the other builds concurrently.
    """
    lock = {"key": zlib.crc32(f"modelstead.{schema}".encode())}
    report_at = time.monotonic() + lock_waits.REPORT_AFTER_S
    while not connection.scalar(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), lock):
        if time.monotonic() > report_at:
            lock_waits.report(lock_waits.holders(connection, lock["key"]), subject=schema)
            report_at = time.monotonic() + lock_waits.REPORT_EVERY_S
        connection.commit()
        time.sleep(_POLL_S)
    connection.commit()


def _limit_waits(connection: Connection, *, commit: bool = True) -> None:
    connection.execute(sqlalchemy.text(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'"))
    connection.execute(sqlalchemy.text(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
    if commit:
        connection.commit()


@contextlib.contextmanager
def _giving_way(connection: Connection, waits: LockWaits, deadline: float) -> Iterator[None]:
    """Try once; if a lock is not to be had, pause, for another try. Raises Unavailable after the deadline."""
    try:
        yield
    except exc.OperationalError as error:
        connection.rollback()
        if getattr(error.orig, "sqlstate", None) not in _GAVE_WAY:
            raise
        if time.monotonic() > deadline:
            raise Unavailable(f"The migration found no moment in which its tables were free. {waits.last}") from error
        time.sleep(LOCK_PAUSE_S)


def _create_schema(connection: Connection, schema: str) -> None:
    # CREATE SCHEMA needs a right on the database even where the schema exists, so look first.
    exists = sqlalchemy.text("SELECT 1 FROM pg_namespace WHERE nspname = :schema")
    if connection.execute(exists, {"schema": schema}).first() is None:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {schema}"))
