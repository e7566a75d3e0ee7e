"""Embedded Postgres for whoever needs just the database: `modelstead migrate`, tests, benchmarks."""

import signal
import time
from pathlib import Path
from typing import Self

from services.common.settings import Address
from services.local import waiting
from services.local.cluster import CONNECTIONS_MAX, SUPERUSER, Cluster
from services.local.data_dir import DataDir
from services.local.errors import LocalError
from services.local.process import Process

_READY_TIMEOUT_S = 120.0


class EmbeddedPostgres:
    """A real Postgres server on loopback with its own data folder, as `modelstead up` runs it.

    Everything blocks. The server ends with the thread that started it, however that ends.
    """

    def __init__(
        self, data_dir: Path, *, connections_max: int = CONNECTIONS_MAX, pause: waiting.Pause = time.sleep
    ) -> None:
        """`data_dir` is locked from `start` to `stop`, and made if it is not there."""
        self._path = data_dir
        self._connections_max = connections_max
        self._pause = pause
        self._data_dir: DataDir | None = None
        self._cluster: Cluster | None = None
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def address(self) -> Address:
        """Where the server listens."""
        return self.cluster.address

    @property
    def cluster(self) -> Cluster:
        """The data folder that the server works on."""
        assert self._cluster is not None, "not started"
        return self._cluster

    def start(self) -> Address:
        """Start the server, recover what a crash left, and wait until it accepts connections. Raises LocalError.

        After `kill` it comes back under the same address; after `stop` nearly always.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self.address

    def stop(self) -> None:
        """Shut down and release the folder. Does nothing when not started."""
        if self._process is not None:
            self._process.stop()
        if self._data_dir is not None:
            self._data_dir.close()
        self._data_dir = self._cluster = self._process = None

    def restart(self) -> Address:
        """Shut down in good order and start again under the same address."""
        assert self._process is not None, "not started"
        self._process.stop()
        self._process = None
        return self.start()

    def kill(self) -> None:
        """End the server as a power cut would. Only `start` or `stop` make sense afterwards."""
        assert self._process is not None, "not started"
        self._process.kill()
        self._process = None

    def end(self, number: signal.Signals) -> None:
        """End the server with a signal of its own: SIGINT is its fast shutdown, SIGQUIT the immediate one."""
        assert self._process is not None, "not started"
        self._process.send(number)
        ended = waiting.until(lambda: self._process is None or self._process.ended, timeout_s=_READY_TIMEOUT_S)
        assert ended
        self._process = None

    def url(self, role: str = SUPERUSER) -> str:
        """Return the URL of the database for `role`: a service's name, or the superuser."""
        return self.cluster.url(role)

    def _start(self) -> None:
        assert self._process is None, "already started"
        self._data_dir = self._data_dir or DataDir(self._path)
        cluster = self._cluster = self._cluster or Cluster(
            self._data_dir, connections_max=self._connections_max, pause=self._pause
        )
        cluster.prepare()
        server = self._process = Process(cluster.child())
        waiting.until(
            lambda: server.ended or cluster.is_ready(server.pid), timeout_s=_READY_TIMEOUT_S, pause=self._pause
        )
        if server.ended or not cluster.is_ready(server.pid):
            raise LocalError(f"Postgres did not start. It last logged:\n{server.last_lines()}")
