"""Real servers of stores elsewhere, on loopback: OpenSSH's, and the emulators of Azure and Google that are to be had.

`make test` installs them with scripts/install-test-servers.sh; a test whose server is missing fails and says so.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.common.settings import Address
from services.local import ports, waiting
from services.local.process import Child, Process

REPOSITORY = Path(__file__).resolve().parents[3]
AZURITE = REPOSITORY / ".cache/azurite/node_modules/azurite/dist/src/blob/main.js"
SSHD = Path("/usr/sbin/sshd")
INSTALL = "run scripts/install-test-servers.sh"

_HOST = "127.0.0.1"
_READY_TIMEOUT_S = 60.0


class Server:
    """A program that listens on a port of loopback; it can be killed and started again at the same place."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.address = Address(_HOST, ports.choose(_HOST))
        self._name = name
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def argv(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        log = self.folder / f"{self._name}.log"
        path = os.environ.get("PATH", "")
        child = Child(name=self._name, argv=self.argv(), env={"PATH": path, "HOME": str(self.folder)}, log=log)
        process = self._process = Process(child)
        waiting.until(lambda: process.ended or self._accepts(), timeout_s=_READY_TIMEOUT_S)
        assert not process.ended, f"{self._name} did not start:\n{process.last_lines()}"

    def _accepts(self) -> bool:
        # Not by listening there, which would be in the server's way.
        try:
            socket.create_connection((self.address.host, self.address.port), timeout=_READY_TIMEOUT_S).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """End it at once, and what it has started for its connections."""
        assert self._process is not None
        for pid in _descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process = None


def _descendants(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    return [each for child in map(int, found) for each in (child, *_descendants(child))]


class SshServer(Server):
    """OpenSSH's server with a host key and one user's key of its own; the user is who runs the tests."""

    def __init__(self, folder: Path) -> None:
        assert SSHD.exists(), f"There is no {SSHD}: {INSTALL}."
        super().__init__("sshd", folder)
        self.user = getpass.getuser()
        self.root = folder / "root"
        self.root.mkdir()
        self.key, self.host_key = self._make_key("user"), self._make_key("host")
        self.known_hosts = folder / "known_hosts"
        public = self.host_key.with_suffix(".pub").read_text()
        self.known_hosts.write_text(f"[{self.address.host}]:{self.address.port} {public}")

    def argv(self) -> list[str]:
        # As root it separates privileges, for which it needs this folder, which a start by the system would make.
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress {self.address}\n"
            f"HostKey {self.host_key}\n"
            f"AuthorizedKeysFile {self.key}.pub\n"
            f"PidFile {self.folder}/sshd.pid\n"
            "PermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\n"
            "UsePAM no\n"
            "StrictModes no\n"
            "Subsystem sftp internal-sftp\n"
        )
        return [str(SSHD), "-D", "-e", "-f", str(config)]

    def _make_key(self, name: str) -> Path:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        return path


@dataclass(frozen=True)
class AzureAccount:
    """The account that Azurite has, with the key that its documentation publishes."""

    name: str = "devstoreaccount1"
    key: str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite(Server):
    """Microsoft's emulator of Azure Blob Storage."""

    def __init__(self, folder: Path) -> None:
        assert AZURITE.exists(), f"Azurite is not installed: {INSTALL}."
        super().__init__("azurite", folder)

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}/{AzureAccount().name}"

    def argv(self) -> list[str]:
        where = ["--blobHost", self.address.host, "--blobPort", str(self.address.port), "--location", str(self.folder)]
        return [
            shutil.which("node") or "node",
            str(AZURITE),
            *where,
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ]


class GcsEmulator(Server):
    """A community's emulator of Google Cloud Storage, in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__("gcs", folder)

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}"

    def argv(self) -> list[str]:
        where = ["--host", self.address.host, "--port", str(self.address.port)]
        return [sys.executable, "-m", "gcp_storage_emulator", "start", *where, "--in-memory", "--quiet"]
