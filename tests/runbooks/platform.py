"""A `modelstead up` on a data folder of its own, and the commands of its operator, all as processes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from services.common.settings import Address
from services.local import waiting
from tests.long_form import IS_LONG
from tests.stack import free_ports

COMMAND = (sys.executable, "-P", "-c", "from modelstead.cli import main; main()")
TIMEOUT_S = 240.0
# As Modelstead says it; Postgres, whose log is shown while that is waited for, is ready to accept connections.
_READY = " is ready ("
# How long a test may take: it starts several platforms, and others run beside it.
TEST_TIMEOUT_S = 14_400 if IS_LONG else 900

Done = subprocess.CompletedProcess[str]


class Platform:
    """One that runs within a block."""

    def __init__(self, data_path: Path, **environ: str) -> None:
        self.data_path = data_path
        self._environ = environ
        self.gateway = Address("127.0.0.1", free_ports())
        self._up: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        options = ["--port", str(self.gateway.port), "--data-dir", str(self.data_path)]
        self._log = self.data_path.with_name(f"{self.data_path.name}.log").open("w")
        self._up = subprocess.Popen(
            [*COMMAND, "up", *options], stdout=self._log, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "MODELSTEAD_UI": "false", **self._environ},
        )  # fmt: skip
        up, log = self._up, Path(self._log.name)
        # The launcher's own word: the gateway says nothing of the object store, whose volumes may come later.
        waiting.until(lambda: up.poll() is not None or _READY in log.read_text(), timeout_s=TIMEOUT_S)
        if up.poll() is not None or _READY not in log.read_text():
            self.__exit__()
            raise AssertionError(log.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._up
        self._up.send_signal(signal.SIGINT)
        self._up.wait(TIMEOUT_S)
        self._log.close()

    @property
    def url(self) -> str:
        return f"http://{self.gateway}"

    def fsck(self, *options: str) -> Done:
        return modelstead("fsck", "--artifacts", f"127.0.0.1:{self.gateway.port + 2}", *options)


class Following:
    """`modelstead backup DIR --follow`, which goes on until it is stopped or killed."""

    def __init__(self, backups: Path, *options: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*COMMAND, "backup", str(backups), "--follow", *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def await_line(self, start: str) -> None:
        """Wait until it prints a line that begins so."""
        waiting.until(lambda: self._has(start) or self._process.poll() is not None, timeout_s=TIMEOUT_S)
        assert self._has(start), "".join(self.lines)

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        code = self._process.wait(TIMEOUT_S)
        self._reader.join()
        return code

    def _has(self, start: str) -> bool:
        return any(line.startswith(start) for line in self.lines)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as out:
            self.lines.extend(iter(out.readline, ""))


def modelstead(*arguments: str) -> Done:
    """Run a command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
