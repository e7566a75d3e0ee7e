"""Who stands in the way of a connection that waits for a lock, as a second connection sees it."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import sqlalchemy
from sqlalchemy import Connection, exc

REPORT_AFTER_S = 1.0
REPORT_EVERY_S = 10.0
_POLL_S = 0.1
_QUERY_LENGTH_MAX = 200

# What belongs to roles of others is hidden, but for the process id and who it is.
_SESSIONS = sqlalchemy.text("""
    SELECT
        pid,
        coalesce(usename, backend_type) AS who,
        application_name,
        state,
        coalesce(xact_start, query_start) AS since,
        query
    FROM pg_stat_activity
    WHERE pid = ANY (:pids)
    ORDER BY pid
""")
_BLOCKERS = sqlalchemy.text("SELECT pg_blocking_pids(:pid)")
_ADVISERS = sqlalchemy.text("""
    SELECT array_agg(pid)
    FROM pg_locks
    WHERE locktype = 'advisory'
      AND granted
      AND classid = 0
      AND objid = CAST(:key AS bigint)
      AND objsubid = 1
""")
_MY_PID = sqlalchemy.text("SELECT pg_backend_pid()")

_log = logging.getLogger("modelstead.migrations")


@dataclass(frozen=True, slots=True)
class Holder:
    """A session of Postgres that holds a lock; `since` its transaction began, or its last statement."""

    pid: int
    who: str
    application_name: str
    state: str | None
    since: datetime | None
    query: str

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M:%S %Z}" if self.since else ""
        name = f", {self.application_name}" if self.application_name else ""
        return f"pid {self.pid} ({self.who}{name}; {self.state or 'state hidden'}{since}): {self.query}"


def holders(connection: Connection, key: int) -> list[Holder]:
    """Return who holds the advisory lock of a key below 2³²."""
    return _read(connection, _ADVISERS, key=key)


def report(found: Sequence[Holder], *, subject: str) -> None:
    """Write a line for each."""
    for holder in found:
        _log.warning("waiting for a lock", extra={"schema": subject, "holder": str(holder)})


class LockWaits:
    """Looks, for the length of a block, whether `connection` waits for a lock, and reports who holds it.

    The same holders are reported every 10 s. It looks ten times a second, so a wait of a moment may pass unseen.
    """

    def __init__(self, engine: sqlalchemy.Engine, connection: Connection, *, subject: str) -> None:
        self._engine = engine
        self._pid = connection.scalar(_MY_PID)
        connection.commit()
        self._subject = subject
        self._seen: list[Holder] = []
        self._report_at: dict[int, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    @property
    def last(self) -> str:
        """The holders that were seen last, as text; empty if there were none."""
        return "\n".join(f"It waited for {holder}" for holder in self._seen)

    def _look(self) -> None:
        try:
            with self._engine.connect() as connection:
                while not self._done.wait(_POLL_S):
                    if found := _read(connection, _BLOCKERS, pid=self._pid):
                        self._seen = found
                        self._report(found)
        except exc.DBAPIError as error:
            # What it is for does not need it.
            _log.warning("cannot see who holds locks", extra={"schema": self._subject, "reason": str(error.orig)})

    def _report(self, found: list[Holder]) -> None:
        now = time.monotonic()
        due = [holder for holder in found if self._report_at.get(holder.pid, 0.0) <= now]
        report(due, subject=self._subject)
        self._report_at |= {holder.pid: now + REPORT_EVERY_S for holder in due}


def _read(connection: Connection, which: sqlalchemy.TextClause, **values: int) -> list[Holder]:
    """Return the sessions whose process ids a statement returns, and leave no transaction open."""
    pids = connection.scalar(which, values)
    rows = connection.execute(_SESSIONS, {"pids": pids}).all() if pids else []
    connection.rollback()
    return [Holder(row.pid, row.who, row.application_name, row.state, row.since, _shortened(row.query)) for row in rows]


def _shortened(query: str) -> str:
    return " ".join(query.split())[:_QUERY_LENGTH_MAX]
