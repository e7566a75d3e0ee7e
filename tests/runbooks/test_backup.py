"""A backup that is taken under load is restored elsewhere: what was acknowledged before the moment is there (R29)."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.local import waiting
from services.local.backups import objects
from services.local.backups.folder import BackupFolder
from services.local.backups.source import Bucket
from services.local.errors import LocalError
from tests.faults.files import Files
from tests.faults.proxy import Proxy
from tests.long_form import IS_LONG
from tests.runbooks.load import Load, content_of, lost_points
from tests.runbooks.platform import TEST_TIMEOUT_S, TIMEOUT_S, Following, Platform, modelstead
from tests.runbooks.servers import Server
from tests.s3 import EmbeddedS3
from tests.stack import free_ports

pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)
_DRILL = Path(__file__).parents[2] / "deploy" / "runbooks" / "restore_drill.sh"
_LOSS_S_MAX = 60
_MORE = 20_000 if IS_LONG else 150


@dataclass(frozen=True, kw_only=True)
class Source:
    """A Postgres and an S3 of somebody's own, and the options that name them."""

    postgres: Server
    s3: EmbeddedS3
    bucket: str
    options: list[str]

    def put(self, key: str, content: bytes) -> None:
        self.s3.s3.client().put_object(self.bucket, key, io.BytesIO(content), len(content))

    def lose_connections(self) -> None:
        """End those that WAL is received by."""
        self.postgres.value("SELECT count(pg_terminate_backend(pid, 60000)) FROM pg_stat_replication")

    def end_segment(self) -> str:
        """Write some WAL, and return the name of the segment that has it, to which nothing more comes."""
        self.postgres.execute("DROP TABLE IF EXISTS written", "CREATE TABLE written ()")
        return str(self.postgres.value("SELECT pg_walfile_name(pg_switch_wal())"))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    with EmbeddedS3(tmp_path / "s3") as running, closing(Server(tmp_path / "postgres")) as postgres:
        s3, options = running.s3, [f"--data-dir={tmp_path / 'none'}"]
        for name, value in (("access", s3.access_key), ("secret", s3.secret_key)):
            (tmp_path / name).write_text(value)
            options += [f"--s3-{name}-key-file", str(tmp_path / name)]
        bucket = s3.make_bucket()
        options += ["--s3-endpoint", s3.endpoint, "--s3-bucket", bucket]
        options += ["--database-url", postgres.start().url()]
        yield Source(postgres=postgres, s3=running, bucket=bucket, options=options)


def test_all_that_was_acknowledged_before_a_moment_is_restored(tmp_path: Path) -> None:
    backups = tmp_path / "back ups"
    with Platform(tmp_path / "data") as platform, Load(platform.url, pause_s=0.01) as load:
        _await_more(load)
        following = Following(backups, "--data-dir", str(platform.data_path))
        following.await_line("Following")
        refused = modelstead("backup", str(backups), "--data-dir", str(platform.data_path))
        _await_more(load)
        moment = datetime.now(UTC)
        _await_more(load)
        lost_at = datetime.now(UTC)
        # As if this machine and its disk were gone now.
        following.end(signal.SIGKILL)
        _await_more(load)
    shutil.rmtree(platform.data_path)

    began = time.monotonic()
    with _restored(backups, tmp_path / "then", "--to", moment.isoformat()) as then:
        took_s = time.monotonic() - began
        lost = lost_points(then.url, load.points)
        checked = then.fsck("--deep")
        unreadable = _unreadable(then, [path for at, path in load.files if at < moment])
    with _restored(backups, tmp_path / "last") as last:
        loss = [at for at, _, _ in lost_points(last.url, load.points) if at < lost_at]

    dangling = {line.split("  ")[-1].removeprefix("/") for line in checked.stdout.splitlines() if "missing" in line}
    loss_s = max(((lost_at - at).total_seconds() for at in loss), default=0.0)
    print(
        f"{_before(moment, load)} acknowledged before the moment, {sum(at < moment for at, _, _ in lost)} points of "
        f"them lost, {len(dangling)} files dangling; serving {took_s:.1f} s after the restoring began; "
        f"{len(loss)} points lost with the machine, of the last {loss_s:.2f} s"
    )
    assert load.failed == []
    assert f"Another backup is running into {backups}" in refused.stderr
    assert [at for at, _, _ in lost if at < moment] == []
    assert lost, "what came after the moment is there as well"
    # One may be committed before the moment and acknowledged after it.
    assert set(unreadable) <= dangling <= {*unreadable, *(path for at, path in load.files if at >= moment)}
    assert set(unreadable) <= _uploaded_after(load, BackupFolder(backups).objects_copied)
    assert checked.returncode == (1 if dangling or "orphaned" in checked.stdout else 0), checked.stdout
    assert loss_s <= _LOSS_S_MAX


def test_a_backup_of_its_own_moment_needs_nothing_else(tmp_path: Path) -> None:
    backups, restored = tmp_path / "backups", tmp_path / "restored"
    with Platform(tmp_path / "data") as platform:
        with Load(platform.url, uploaders=3) as load:
            _await_more(load)
            acknowledged = (list(load.points), list(load.files))
            for _ in range(2):
                done = modelstead("backup", str(backups), "--keep", "1", "--data-dir", str(platform.data_path))
                assert done.returncode == 0, done.stderr
        refused = modelstead("restore", str(backups), "--data-dir", str(platform.data_path))
    assert len(BackupFolder(backups).sets()) == 1
    assert refused.returncode == 1

    # One that was killed is begun anew.
    restored.mkdir()
    for name, text in (("VERSION", "1\n"), ("restoring", "")):
        (restored / name).write_text(text)
    unfinished = modelstead("migrate", "--data-dir", str(restored))
    done = modelstead("restore", str(backups), "--data-dir", str(restored))
    assert done.returncode == 0, done.stderr
    assert "was not restored to its end" in unfinished.stderr
    with Platform(restored) as again:
        assert lost_points(again.url, acknowledged[0]) == []
        assert _unreadable(again, [path for _, path in acknowledged[1]]) == []
    drill = subprocess.run(
        [_DRILL, "--backups", str(backups), "--port", str(free_ports())],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # Of the platform that lives on this machine.
            "MODELSTEAD_DATABASE_URL": "postgresql://live@127.0.0.1:1/live",
        },
    )  # fmt: skip
    print(drill.stdout)
    assert drill.returncode == 0, drill.stdout + drill.stderr
    assert "Restored, started and checked in" in drill.stdout
    assert "Missing" not in drill.stdout


def test_a_database_without_its_contents_is_no_backup(source: Source, tmp_path: Path) -> None:
    backups = tmp_path / "backups"

    first = modelstead("backup", str(backups), "--keep", "1", *source.options)
    before = BackupFolder(backups).sets()
    source.s3.stop()
    second = modelstead("backup", str(backups), "--keep", "1", *source.options)

    assert (first.returncode, second.returncode) == (0, 1), first.stderr + second.stderr
    assert "does not answer" in second.stderr
    assert len(before) == 1
    assert BackupFolder(backups).sets() == before


def test_wal_is_received_while_contents_are_copied(source: Source, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    source.put("default/00/0", bytes(64 * 1024 * 1024))
    with Proxy(urlsplit(source.s3.s3.endpoint).netloc) as narrow:
        # It would take a quarter of an hour.
        narrow.answer_delay_s = 1.0
        following = Following(backups, *source.options, "--s3-endpoint", f"http://{narrow.address}")
        copied_to = backups / "objects"
        assert waiting.until(lambda: any(copied_to.rglob(".0")), timeout_s=TIMEOUT_S), "".join(following.lines)
        source.lose_connections()
        following.await_line("No WAL is received: ")
        ended = source.end_segment()
        [taken] = BackupFolder(backups).sets()

        is_received = waiting.until(lambda: (taken.wal / ended).exists(), timeout_s=60)
        code = following.end(signal.SIGINT)

    assert is_received, "".join(following.lines)
    assert code == 0
    assert not any(line.startswith("Objects: ") for line in following.lines)


def test_wal_that_cannot_be_read_is_not_its_end(source: Source, tmp_path: Path) -> None:
    backups = tmp_path / "back ups' 100 %f"
    following = Following(backups, *source.options)
    following.await_line("Following")
    names = [source.end_segment() for _ in range(3)]
    [taken] = BackupFolder(backups).sets()
    assert waiting.until(lambda: (taken.wal / names[-1]).exists(), timeout_s=60), "".join(following.lines)
    following.end(signal.SIGINT)
    unreadable = taken.wal / names[1]
    unreadable.unlink()
    unreadable.mkdir()

    done = modelstead("restore", str(backups), "--data-dir", str(tmp_path / "restored"))

    assert done.returncode == 1, done.stdout
    assert f'could not restore file "{unreadable.name}"' in done.stderr


def test_contents_alone_are_copied_from_a_bucket_to_another(tmp_path: Path) -> None:
    keys = [f"default/{number:02x}/{number:032x}" for number in range(20)]
    with EmbeddedS3(tmp_path / "s3") as running:
        s3, client = running.s3, running.s3.client()
        source, target = s3.make_bucket(), s3.make_bucket()
        options = ["--only-objects", "--s3-endpoint", s3.endpoint]
        for name, value in (("access", s3.access_key), ("secret", s3.secret_key)):
            (tmp_path / name).write_text(value)
            options += [f"--s3-{name}-key-file", str(tmp_path / name)]
        for key in keys:
            client.put_object(source, key, io.BytesIO(key.encode()), len(key))
        backups = str(tmp_path / "backups")

        first = modelstead("backup", backups, *options, "--s3-bucket", source)
        client.remove_object(source, keys[0])
        client.put_object(source, f"{keys[1]}f", io.BytesIO(b"x"), 1)
        second = modelstead("backup", backups, *options, "--s3-bucket", source)
        restored = modelstead("restore", backups, *options, "--s3-bucket", target)
        found = {
            each.object_name: client.get_object(target, each.object_name or "").read()
            for each in client.list_objects(target, recursive=True)
        }

    assert "Objects: 20 of 20 copied" in first.stdout, first.stderr
    assert "Objects: 1 of 20 copied" in second.stdout, second.stderr
    assert "Objects: 21 of 21 restored." in restored.stdout, restored.stderr
    assert found == {**{key: key.encode() for key in keys}, f"{keys[1]}f": b"x"}


def test_a_folder_takes_one_backup_at_a_time(tmp_path: Path) -> None:
    backups = BackupFolder.made(tmp_path / "backups")
    (tmp_path / "key").write_text("key")
    keys = [f"--s3-{name}-key-file={tmp_path / 'key'}" for name in ("access", "secret")]
    command = [
        "backup",
        str(backups.path),
        "--only-objects",
        "--s3-endpoint=http://127.0.0.1:1",
        "--s3-bucket=contents",
        *keys,
    ]

    with backups.held():
        refused = modelstead(*command)
    let_in = modelstead(*command)

    assert refused.stderr.startswith(f"Another backup is running into {backups.path}: ")
    assert refused.returncode == let_in.returncode == 1
    assert "does not answer" in let_in.stderr


def test_a_disk_that_fails_is_told_in_a_sentence(tmp_path: Path) -> None:
    backups = BackupFolder.made(tmp_path / "backups")
    backups.objects.write_text("where a folder should be")
    with EmbeddedS3(tmp_path / "s3") as running:
        s3, client = running.s3, running.s3.client()
        bucket = s3.make_bucket()
        client.put_object(bucket, "default/00/0", io.BytesIO(b"x"), 1)
        into = Bucket(endpoint=s3.endpoint, name=bucket, access_key=s3.access_key, secret_key=s3.secret_key)

        with pytest.raises(LocalError, match=r"objects.* cannot be read or written: "):
            objects.copy_out(into, backups.objects)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["restore", "nowhere"], "is not a folder of backups"),
        (["restore", "nowhere", "--to", "noon"], "expected a time with its zone"),
        (["restore", "nowhere", "--only-objects"], "go together"),
        (["backup", "b", "--data-dir", "nowhere"], "is not the data folder of a platform"),
        (["backup", "b", "--follow", "--only-objects"], "which --only-objects leaves out"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    options: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = modelstead(*options)

    assert done.returncode != 0
    assert complaint in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


@contextmanager
def _restored(backups: Path, into: Path, *options: str) -> Iterator[Platform]:
    done = modelstead("restore", str(backups), "--data-dir", str(into), *options)
    assert done.returncode == 0, done.stderr
    with Platform(into) as platform:
        yield platform


def _before(moment: datetime, load: Load) -> int:
    return sum(each[0] < moment for each in (*load.points, *load.files))


def _await_more(load: Load) -> None:
    goal = load.count + _MORE
    assert waiting.until(lambda: load.count >= goal, timeout_s=TIMEOUT_S * (20 if IS_LONG else 1)), load.failed[-1:]


def _unreadable(platform: Platform, paths: list[str]) -> list[str]:
    with Files(platform.url) as files:
        return [path for path in paths if not files.is_stored(path, content_of(path))]


def _uploaded_after(load: Load, moment: datetime | None) -> set[str]:
    assert moment
    return {path for at, path in load.files if at > moment}
