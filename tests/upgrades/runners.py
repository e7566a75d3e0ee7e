"""`python -m services.<service> migrate` as a process, beside somebody who holds a lock."""

import os
import sys
from pathlib import Path
from typing import Any, Self

import psycopg

from services.local.postgres import EmbeddedPostgres
from services.local.process import LAUNCHED_FOR, Child, Process


def start(schema: str, postgres: EmbeddedPostgres, folder: Path, *, name: str = "migrate") -> Process:
    """Start a runner; its log is `<name>.log` in the folder."""
    return Process(
        Child(
            name=name,
            argv=[sys.executable, "-m", f"services.{schema}", "migrate"],
            env={
                **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
                "MODELSTEAD_DATABASE_URL": postgres.url(schema),
                "MODELSTEAD_PAGE_TOKEN_KEY": "k" * 32,
                LAUNCHED_FOR: str(folder),
            },
            log=folder / f"{name}.log",
        )
    )


class Session:
    """Somebody's open transaction, which has done one statement and goes on holding what that took."""

    def __init__(self, url: str, statement: str) -> None:
        self._connection = psycopg.connect(url, application_name="somebody's notebook")
        self.pid = self._connection.info.backend_pid
        self._connection.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def end(self) -> None:
        """End the transaction, and with it its locks."""
        self._connection.rollback()


def is_waiting_for(url: str, pid: int) -> bool:
    """Whether some session waits for one of another."""
    return bool(query(url, "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))", pid))


def query(url: str, statement: str, *values: object) -> Any:
    """Return the one value that a statement has."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row[0]
