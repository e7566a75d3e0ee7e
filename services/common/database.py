"""A service's way to its Postgres schema: pool, transactions, and what a database failure means to a caller."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import psycopg
import sqlalchemy
from prometheus_client import Gauge, Histogram
from psycopg.pq import PipelineStatus
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util.concurrency import greenlet_spawn

from services.common import arrays
from services.common.errors import DeadlineExceeded, Interrupted, ResourceExhausted, ServiceError, Unavailable
from services.common.pool_size import CONNECTIONS_MAX, CONNECTIONS_MIN
from services.common.secret_files import Derived, Secret
from services.common.settings import SettingsError

# A transaction as SQLAlchemy Core sees it.
Tx = AsyncConnection
# A transaction on the driver's own connection, for stores whose statements are fixed and many: it costs half.
Driver = psycopg.AsyncConnection[Any]
Cursor = psycopg.AsyncCursor[Any]

STATEMENT_TIMEOUT_S = 30
_POOL_WAIT_S = 5
_DISK_FULL_RETRY_S = 5
# Of the pool, those that are kept as they are for statements that only read.
_READERS_MAX = 2
_CONNECT_TIMEOUT_S = 3

_QUERY_CANCELED = "57014"
_READ_ONLY = "25006"
_DISK_FULL = "53100"
_TOO_MANY_CONNECTIONS = "53300"
# Class 08 connection, 57P shutdown, 40 rolled back by a conflict: the same call may succeed later.
_RETRIABLE_CLASSES = ("08", "57P", "40")

# Alembic's own table, in the schema.
_REVISION = sqlalchemy.text("""
    SELECT version_num
    FROM alembic_version
""")
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

POOL_WAIT_SECONDS = Histogram(
    "modelstead_database_wait_seconds",
    "Time to get a connection to Postgres from the pool.",
    buckets=(0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
CONNECTIONS_USED = Gauge("modelstead_database_connections_used", "Connections to Postgres that somebody uses.")
CONNECTIONS_ALLOWED = Gauge("modelstead_database_connections_max", "Connections to Postgres that the process may have.")

_log = logging.getLogger("modelstead.database")


def parse_url(text: str) -> URL:
    """Return the URL for psycopg. Raises SettingsError."""
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise SettingsError(
            "MODELSTEAD_DATABASE_URL is not a URL like postgresql://user:password@host:5432/db."
        ) from None
    if url.get_backend_name() != "postgresql":
        raise SettingsError(
            f"MODELSTEAD_DATABASE_URL names {url.get_backend_name()}, but only postgresql is supported."
        )
    return url.set(drivername="postgresql+psycopg")


class Database:
    """A pool of connections whose search path is one schema.

    Connections time out after 3 s, statements after 30 s; a caller waits at most 5 s for a free connection.
    """

    def __init__(
        self,
        url: str | Secret,
        *,
        schema: str,
        parameters: Mapping[str, str] | None = None,
        connections: int = CONNECTIONS_MAX,
    ) -> None:
        """`parameters` are set on every connection, by name, for what statements read with `current_setting`.

        Of a `url` with several lines each new connection takes the first that lets it in: so a password is exchanged
        while both are in the file. Raises SettingsError for too few connections.
        """
        if connections < CONNECTIONS_MIN:
            raise SettingsError(
                f"MODELSTEAD_DATABASE_CONNECTIONS={connections} is not valid: expected {CONNECTIONS_MIN} or more."
            )
        arrays.register(psycopg.adapters)
        options = f"-c search_path={schema} -c statement_timeout={STATEMENT_TIMEOUT_S}s -c timezone=UTC"
        options += "".join(f" -c {name}={_escaped(value)}" for name, value in (parameters or {}).items())
        secret = Secret.of(url)
        newest = parse_url(secret.lines()[0])
        self._urls = Derived(secret, _parse_urls)
        self._connect_args = {
            "options": options,
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
        self._engine: AsyncEngine = create_async_engine(
            newest,
            poolclass=_Pool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_POOL_WAIT_S,
            pool_use_lifo=True,
            connect_args=self._connect_args,
        )
        event.listen(self._engine.sync_engine, "do_connect", self._connect)
        self._readers: list[PoolProxiedConnection] = []
        CONNECTIONS_USED.set_function(self._used_count)
        CONNECTIONS_ALLOWED.set(connections)
        self._readers_max = min(_READERS_MAX, connections // CONNECTIONS_MIN)

    @contextlib.asynccontextmanager
    async def begin(self, *, snapshot: bool = False) -> AsyncIterator[Tx]:
        """Open a transaction; it commits at the end of the block and rolls back when an exception leaves it.

        With `snapshot` it only reads, and every statement sees the same state. Raises Interrupted,
        ResourceExhausted or DeadlineExceeded when the database is away, full or too slow.
        """
        async with self._translating(), self._engine.begin() as tx:
            if snapshot:
                await tx.execute(sqlalchemy.text(_SNAPSHOT))
            yield tx

    @contextlib.asynccontextmanager
    async def pipeline(self, *, snapshot: bool = False) -> AsyncIterator[Driver]:
        """Open a transaction as `begin` does, on the driver's own connection and in pipeline mode.

        Statements are sent without waiting for each other's answers until one is fetched.
        """
        async with self._translating():
            connection = await self._engine.raw_connection()
            driver: Driver = connection.driver_connection  # type: ignore[assignment]
            try:
                async with driver.pipeline():
                    if snapshot:
                        await driver.execute(_SNAPSHOT)
                    yield driver
                    await driver.commit()
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    await driver.rollback()
                raise
            finally:
                # Psycopg 3.3 leaves it open if it is cancelled just as it begins, and nothing is answered there again.
                is_left_open = driver.info.pipeline_status is not PipelineStatus.OFF
                await greenlet_spawn(connection.invalidate if is_left_open else connection.close)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Driver]:
        """Give the driver's own connection for one statement that only reads, which needs no transaction around it: it
        costs a third of what it does in `pipeline`. Raises what `begin` does.

        Each statement sees a state of its own: whoever has two that must agree takes `pipeline(snapshot=True)`.
        """
        async with self._translating():
            pool = self._engine.pool
            reader = self._readers.pop() if self._readers else await self._new_reader()
            try:
                yield reader.driver_connection  # type: ignore[misc]
            except BaseException:
                await _return(reader)
                raise
            if pool is not self._engine.pool:
                # All were closed meanwhile: it may lead to a primary that is none any more.
                await greenlet_spawn(reader.invalidate)
            elif len(self._readers) < self._readers_max:
                self._readers.append(reader)
            else:
                await _return(reader)

    async def revision(self) -> str | None:
        """Return the migration that the schema has come to, such as `0004`; None if it has none, or nobody answers.
        Raises ResourceExhausted while all connections are used.
        """
        try:
            async with self.begin() as tx:
                revision: str | None = await tx.scalar(_REVISION)
                return revision
        except ResourceExhausted:
            raise
        except (ServiceError, exc.ProgrammingError):
            return None

    async def close(self) -> None:
        """Close every connection."""
        while self._readers:
            await _return(self._readers.pop())
        await self._engine.dispose()

    def _used_count(self) -> int:
        pool = self._engine.pool
        assert isinstance(pool, _Pool)
        return pool.checkedout() - len(self._readers)

    def _connect(self, dialect: Any, record: object, arguments: object, parameters: Mapping[str, Any]) -> object:
        """Connect as the URL says now, not as it did when the pool was made."""
        urls = self._urls()
        # Between the first one, which is not valid yet, and the second, which is no more, passwords may be exchanged.
        *earlier, last = urls if len(urls) == 1 else [*urls, urls[0]]
        for url in earlier:
            with contextlib.suppress(psycopg.OperationalError):
                return dialect.connect(**self._parameters(dialect, url, parameters))
        return dialect.connect(**self._parameters(dialect, last, parameters))

    def _parameters(self, dialect: Any, url: URL, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {**parameters, **dialect.create_connect_args(url)[1], **self._connect_args}

    async def _new_reader(self) -> PoolProxiedConnection:
        reader: PoolProxiedConnection = await self._engine.raw_connection()
        try:
            await reader.driver_connection.set_autocommit(True)  # type: ignore[union-attr]
        except BaseException:
            await _return(reader)
            raise
        return reader

    @contextlib.asynccontextmanager
    async def _translating(self) -> AsyncIterator[None]:
        try:
            yield
        except exc.TimeoutError:
            raise ResourceExhausted("The server is busy; try again.", retry_after_s=1) from None
        except exc.DBAPIError as error:
            raise await self._translated(error, error.orig) from error
        except psycopg.Error as error:
            raise await self._translated(error, error) from error

    async def _translated(self, error: Exception, cause: BaseException | None) -> Exception:
        state = getattr(cause, "sqlstate", None) or ""
        if state == _QUERY_CANCELED:
            return DeadlineExceeded("The database did not answer in time.")
        if state == _TOO_MANY_CONNECTIONS:
            return ResourceExhausted("The database has no free connection; try again.", retry_after_s=1)
        if state == _DISK_FULL:
            # A person has to make room, and then the same call succeeds.
            _log.error("the database has no space left")
            return Unavailable("The database has no space left; try again.", retry_after_s=_DISK_FULL_RETRY_S)
        is_lost = state.startswith(_RETRIABLE_CLASSES[:2]) or (
            isinstance(cause, psycopg.OperationalError) and not state
        )
        if is_lost or state == _READ_ONLY:
            # Where one connection was lost, or leads to a demoted primary, the others are no better.
            await self.close()
        elif not state.startswith(_RETRIABLE_CLASSES):
            return error
        _log.warning("database unavailable", extra={"sqlstate": state or None, "cause": type(cause).__name__})
        return Interrupted("The database is unavailable; try again.", retry_after_s=1)


class _Pool(AsyncAdaptedQueuePool):
    """A pool that measures how long one waits for a connection, and for its making where there is none."""

    def _do_get(self) -> ConnectionPoolEntry:
        began_s = time.perf_counter()
        try:
            return super()._do_get()
        finally:
            POOL_WAIT_SECONDS.observe(time.perf_counter() - began_s)


async def _return(reader: PoolProxiedConnection) -> None:
    """Give a connection for reading back to the pool."""
    driver: Driver = reader.driver_connection  # type: ignore[assignment]
    try:
        await driver.set_autocommit(False)
    except psycopg.Error:
        # It is lost, or in the middle of something; the pool makes another one.
        await driver.close()
    finally:
        await greenlet_spawn(reader.close)


async def driver_of(tx: Tx) -> Driver:
    """Return the driver's own connection of an open transaction, for its statements that are fixed."""
    driver: Driver = (await tx.get_raw_connection()).driver_connection  # type: ignore[assignment]
    return driver


def _parse_urls(text: str) -> list[URL]:
    """Return the URLs in a text, one a line. Raises ValueError."""
    try:
        return [parse_url(line) for line in Secret(text).lines()]
    except SettingsError as error:
        raise ValueError(str(error)) from error


def _escaped(value: str) -> str:
    """Return a parameter's value as libpq's `options` takes it."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def violated_constraint(error: exc.IntegrityError) -> str | None:
    """Return the name of the constraint that a statement violated."""
    diagnostic = getattr(error.orig, "diag", None)
    return diagnostic.constraint_name if diagnostic else None
