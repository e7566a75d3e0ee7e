"""A connection of its own on which a process hears one channel of Postgres' NOTIFY."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg

from services.common.database import parse_url
from services.common.errors import Unavailable
from services.common.secret_files import Secret

APPLICATION_NAME = "modelstead-listener"

_CONNECT_ARGS: dict[str, Any] = {
    "application_name": APPLICATION_NAME,
    "connect_timeout": 3,
    # A peer that has vanished is given up within seconds.
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 4_000,
}


class Notifications:
    """What comes on a connection that listens. Every method raises Unavailable when it is lost."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection

    async def catch_up(self) -> list[str]:
        """Return the payloads of all that was committed before this was called and not returned yet."""
        with _translating():
            # Postgres sends what it has to tell before the answer to a statement that came later.
            await self._connection.execute("SELECT 1")
            return [notification.payload async for notification in self._connection.notifies(timeout=0)]

    async def next(self, timeout_s: float) -> list[str]:
        """Return the payloads that come next, together; none if nothing comes for so long."""
        with _translating():
            arriving = self._connection.notifies(timeout=timeout_s, stop_after=1)
            return [notification.payload async for notification in arriving]


@contextlib.asynccontextmanager
async def listening(url: str | Secret, channel: str) -> AsyncIterator[Notifications]:
    """Open a connection that listens to a channel, to Postgres itself or by a pooler that keeps sessions. Raises
    Unavailable.
    """
    with _translating():
        connection = await _connect(Secret.of(url).lines())
    async with connection:
        with _translating():
            await connection.execute(f"LISTEN {channel}")
        yield Notifications(connection)


async def _connect(urls: list[str]) -> "psycopg.AsyncConnection[Any]":
    """Connect by the first URL that lets us in, as `Database` does."""
    *earlier, last = [parse_url(url).set(drivername="postgresql").render_as_string(hide_password=False) for url in urls]
    for conninfo in earlier:
        with contextlib.suppress(psycopg.OperationalError):
            return await psycopg.AsyncConnection.connect(conninfo, autocommit=True, **_CONNECT_ARGS)
    return await psycopg.AsyncConnection.connect(last, autocommit=True, **_CONNECT_ARGS)


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise Unavailable("The database is unavailable; try again.", retry_after_s=1) from error
