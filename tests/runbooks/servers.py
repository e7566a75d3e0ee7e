"""Postgres servers of which one follows another."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import psycopg

from services.local import waiting
from services.local.cluster import SUPERUSER, Cluster, password_name, programs
from services.local.data_dir import DataDir
from services.local.process import Process

_TIMEOUT_S = 120.0


class Server:
    """One that runs on a data folder of its own until it is stopped or killed."""

    def __init__(self, path: Path, *, follows: "Server | None" = None, name: str = "") -> None:
        """Make it anew, or as a standby, under a name by which a primary can wait for it. Does not start it."""
        self.name = name
        self._data_dir = DataDir(path)
        if follows is not None:
            self._data_dir.keep_secret(password_name(SUPERUSER), follows.password)
        self.cluster = Cluster(self._data_dir)
        if follows is None:
            self.cluster.prepare()
        else:
            self._copy(follows)
        argv = [*self.cluster.child().argv, "-p", str(self.cluster.address.port), "-c", f"cluster_name={name}"]
        self._child = dataclasses.replace(self.cluster.child(), argv=argv, prepare=None)
        self._process: Process | None = None

    @property
    def password(self) -> str:
        return self._data_dir.secret(password_name(SUPERUSER))

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    @property
    def process(self) -> Process:
        assert self._process, "not started"
        return self._process

    def url(self, address: str | None = None) -> str:
        """Return the superuser's URL, by way of another address if one is given."""
        return self.cluster.url(SUPERUSER).replace(self.address, address or self.address)

    def start(self) -> "Server":
        self._process = Process(self._child)
        assert waiting.until(lambda: self.process.ended or self._answers(), timeout_s=_TIMEOUT_S)
        assert not self.process.ended, self.process.last_lines()
        return self

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()

    def close(self) -> None:
        if self._process is not None:
            self._process.stop()
        self._data_dir.close()

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, query: str) -> Any:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    def await_standby(self, state: str) -> None:
        """Wait until a standby follows, as `async` or, with commits that wait for it, `quorum`."""
        query = "SELECT string_agg(sync_state, ',') FROM pg_stat_replication WHERE state = 'streaming'"
        assert waiting.until(lambda: self.value(query) == state, timeout_s=_TIMEOUT_S), self.value(query)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True

    def _copy(self, primary: "Server") -> None:
        where = primary.cluster.address
        conninfo = f"host={where.host} port={where.port} user={SUPERUSER} application_name={self.name}"
        subprocess.run(
            [programs() / "pg_basebackup", "-d", conninfo, "-D", self.cluster.folder, "-R", "--checkpoint=fast"],
            check=True, env={"PGPASSWORD": primary.password, "LC_ALL": "C"}, timeout=_TIMEOUT_S,
        )  # fmt: skip
