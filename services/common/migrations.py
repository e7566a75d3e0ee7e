"""Brings a service's schema to the newest version: alembic under an advisory lock, one history per schema."""

import logging
import time
import zlib
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, exc

from services.common.database import parse_url
from services.common.errors import Unavailable
from services.common.readiness import newest_revision

LOCK_TIMEOUT_S = 4
STATEMENT_TIMEOUT_S = 5
WAIT_FOR_DATABASE_S = 60
_POLL_S = 0.05

_log = logging.getLogger("modelstead.migrations")


def upgrade(url: str, *, schema: str, scripts: Path, to: str | None = None) -> None:
    """Wait for the database, then run every migration in `scripts` that `schema` does not have yet, up to the revision
    `to` and with it. A schema that a newer release has migrated stays as it is.

    One runner at a time works; the others wait for it and find nothing to do. A runner that is killed leaves the
    schema at the last complete migration. Raises Unavailable if the database does not answer within 60 s.
    """
    engine = sqlalchemy.create_engine(parse_url(url), poolclass=sqlalchemy.NullPool)
    with _connect(engine) as connection:
        lock = {"key": zlib.crc32(f"modelstead.{schema}".encode())}
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), lock)
        _create_schema(connection, schema)
        connection.execute(sqlalchemy.text(f"SET search_path = {schema}"))
        connection.execute(sqlalchemy.text(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        connection.execute(sqlalchemy.text(f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
        connection.commit()
        revision = to or newest_revision(scripts)
        if (_revision(connection, schema) or "") < revision:
            command.upgrade(_config(connection, schema, scripts), revision)
        connection.commit()
        _log.info("schema is current", extra={"schema": schema, "revision": revision})


def current(url: str, *, schema: str) -> str | None:
    """Wait for the database, then return the revision of `schema`, None if it has none. Raises Unavailable."""
    engine = sqlalchemy.create_engine(parse_url(url), poolclass=sqlalchemy.NullPool)
    with _connect(engine) as connection:
        return _revision(connection, schema)


def _revision(connection: Connection, schema: str) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table_schema": schema}).get_current_revision()


def _config(connection: Connection, schema: str, scripts: Path) -> Config:
    config = Config(attributes={"connection": connection, "schema": schema})
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


def _connect(engine: sqlalchemy.Engine) -> Connection:
    deadline = time.monotonic() + WAIT_FOR_DATABASE_S
    while True:
        try:
            return engine.connect()
        except exc.OperationalError as error:
            if time.monotonic() > deadline:
                raise Unavailable(f"The database did not answer within {WAIT_FOR_DATABASE_S} s.") from error
            time.sleep(_POLL_S)


def _create_schema(connection: Connection, schema: str) -> None:
    # CREATE SCHEMA needs a right on the database even where the schema exists, so look first.
    exists = sqlalchemy.text("SELECT 1 FROM pg_namespace WHERE nspname = :schema")
    if connection.execute(exists, {"schema": schema}).first() is None:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {schema}"))
