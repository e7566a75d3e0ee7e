"""What every service can tell of its process and of its tables; modelstead/status.proto says what it means."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata

from services.common.database import Driver

DISTRIBUTION = "modelstead-server"
# How old what is told may be.
AGE_S = 1.0

# The statistics are kept as transactions commit. They are lost in a crash, and what was last analyzed stands in.
_SELECT_TABLES = """
    SELECT
        s.relname,
        coalesce(nullif(s.n_live_tup, 0), greatest(c.reltuples, 0)::bigint),
        pg_total_relation_size(c.oid)
    FROM pg_stat_user_tables AS s
    JOIN pg_class AS c
        ON c.oid = s.relid
    WHERE s.schemaname = current_schema()
    ORDER BY s.relname
"""

_SELECT_REVISION = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """This process. Times are of its own clock."""

    version: str
    replica: str
    start_time: datetime

    @classmethod
    def here(cls) -> "Process":
        """Return the process that calls, as of now."""
        return cls(version=_version(), replica=f"{socket.gethostname()}/{os.getpid()}", start_time=datetime.now(UTC))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessStatus:
    """A process and the schema that it works on."""

    version: str
    replica: str
    start_time: datetime
    schema_revision: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TableStatus:
    """A table's size; rows are estimated."""

    name: str
    row_count: int
    byte_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaStatus:
    """The service's schema: its newest migration, and its tables by name."""

    revision: str
    tables: Sequence[TableStatus]

    @property
    def table_bytes(self) -> int:
        """Bytes of all tables."""
        return sum(table.byte_count for table in self.tables)

    def rows_of(self, table: str) -> int:
        """Return how many rows a table is estimated to have."""
        return next((each.row_count for each in self.tables if each.name == table), 0)

    def of(self, process: Process) -> ProcessStatus:
        """Return what is told of the process that works on the schema."""
        return ProcessStatus(
            version=process.version,
            replica=process.replica,
            start_time=process.start_time,
            schema_revision=self.revision,
        )


async def read_schema(tx: Driver) -> SchemaStatus:
    """Return what the catalog tells of the schema, of which no table is read."""
    revision = await tx.execute(_SELECT_REVISION)
    tables = await tx.execute(_SELECT_TABLES)
    row = await revision.fetchone()
    return SchemaStatus(
        revision=row[0] if row else "",
        tables=[
            TableStatus(name=name, row_count=row_count, byte_count=byte_count)
            for name, row_count, byte_count in await tables.fetchall()
        ],
    )


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
