"""Postgres on a disk that fills up: callers are told so, and all of it goes on once the runbook has made room (R13)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from services.local import waiting
from tests.runbooks.load import Load, lost_points
from tests.runbooks.platform import TEST_TIMEOUT_S, TIMEOUT_S, Done, Platform
from tests.runbooks.servers import Server

pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)
_RUNBOOK = Path(__file__).parents[2] / "deploy" / "runbooks" / "disk_full.py"
_DISK_MB, _BALLAST_MB = 256, 64
_CREATE = "/api/2.0/mlflow/runs/create"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"A small file system wants root, or the right to mount: {done.stderr.strip()}"
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_heals_without_a_restart(small_disk: Path, tmp_path: Path) -> None:
    ballast = small_disk / "ballast"
    with ExitStack() as stack:
        server = Server(small_disk / "data")
        stack.callback(server.close)
        # So that it is the tables that fill the disk.
        with (server.cluster.folder / "postgresql.conf").open("a") as settings:
            settings.write("max_wal_size = 64MB\nmin_wal_size = 32MB\n")
        server.start()
        kept = _runbook(server, tmp_path, "keep-ballast", "--ballast", str(ballast), "--size", f"{_BALLAST_MB}M")
        platform = stack.enter_context(Platform(tmp_path / "platform", MODELSTEAD_DATABASE_URL=server.url()))
        with Load(platform.url, writers=2, uploaders=0, pause_s=0.01) as load:
            assert waiting.until(lambda: load.count > 50, timeout_s=TIMEOUT_S), load.failed[-1:]
            _fill(platform, small_disk)
            assert waiting.until(lambda: bool(load.failed), timeout_s=TIMEOUT_S)
            before = load.count
            made = _make_room(server, tmp_path, ballast)
            assert waiting.until(lambda: load.count > before + 50, timeout_s=TIMEOUT_S), load.failed[-1:]
        lost = lost_points(platform.url, load.points)

    print(f"{load.count} acknowledged, {len(load.failed)} told that it is full, {len(lost)} lost")
    assert kept.returncode == 0, kept.stderr
    assert made.returncode == 0, made.stderr
    assert "Removed the ballast" in made.stdout or "no ballast" in made.stdout
    assert "tracking." in made.stdout, "the largest tables are not named"
    assert lost == []
    assert [failure for failure in load.failed if failure.status != 503] == []


def test_a_ballast_leaves_as_much_free_as_it_takes(tmp_path: Path) -> None:
    gigabytes = shutil.disk_usage(tmp_path).total // 2**30 + 1

    refused = _keep_ballast(tmp_path / "ballast", f"{gigabytes}G")
    kept = _keep_ballast(tmp_path / "ballast", "1M")

    assert refused.returncode == 1
    assert "wants twice its size" in refused.stderr
    assert kept.returncode == 0, kept.stderr
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("ballast", 2**20)]


def test_a_slot_that_is_dropped_already_is_no_failure(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = Server(tmp_path / "data").start()
        stack.callback(server.close)
        server.execute("SELECT pg_create_physical_replication_slot('left', true)")

        done = [_runbook(server, tmp_path, "make-room", "--drop-slot", "left") for _ in range(2)]

    assert [run.returncode for run in done] == [0, 0], done[1].stderr
    assert "Dropped the replication slot left." in done[0].stdout
    assert "There is no replication slot left (any more)." in done[1].stdout


def _keep_ballast(path: Path, size: str) -> Done:
    words = ["keep-ballast", "--ballast", str(path), "--size", size]
    return subprocess.run([sys.executable, _RUNBOOK, *words], capture_output=True, text=True, check=False, timeout=60)


def _fill(platform: Platform, disk: Path) -> None:
    """Write until nothing more fits: with large parameters, which nothing makes smaller, then with a file."""
    with httpx.Client(base_url=platform.url, timeout=60) as client:
        answer = client.post(_CREATE, json={"experiment_id": "0"})
        answer.raise_for_status()
        for _ in range(2 * _DISK_MB):
            tags = [{"key": f"t{number}", "value": os.urandom(2400).hex()} for number in range(100)]
            answer = client.post(_CREATE, json={"experiment_id": "0", "tags": tags})
            if answer.status_code != 200:
                break
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["retry-after"]) >= 1
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(b"\0" * 65536):
                pass
        except OSError:
            return


def _make_room(server: Server, path: Path, ballast: Path) -> Done:
    """Run the runbook until it succeeds: a Postgres whose WAL did not fit recovers first, or has ended."""
    tried: list[Done] = []

    def is_made() -> bool:
        if server.process.ended:
            # What restarts Postgres elsewhere: a supervisor, or Kubernetes.
            server.start()
        tried.append(_runbook(server, path, "make-room", "--ballast", str(ballast)))
        return tried[-1].returncode == 0

    waiting.until(is_made, timeout_s=TIMEOUT_S)
    return tried[-1]


def _runbook(server: Server, path: Path, *words: str) -> Done:
    file = path / "url"
    file.touch(mode=0o600)
    file.write_text(server.url())
    url = [] if words[0] == "keep-ballast" else ["--url-file", str(file)]
    return subprocess.run(
        [sys.executable, _RUNBOOK, *words, *url], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
