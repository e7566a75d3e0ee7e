"""A spool on a disk of 16 MB, a server that is away, and a job that logs more than that."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.server import IngestServer

_TIMEOUT_S = 120


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system of its own can be mounted only by root")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_points_that_do_not_fit_are_dropped_and_counted_and_the_job_heals(
    server: IngestServer, small_disk: Path
) -> None:
    server.stop()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.client.jobs", "fills-the-disk", server.address, str(small_disk / "spool")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout
    run_id = process.stdout.readline().strip()
    assert process.stdout.readline().strip() == "full"
    server.start()
    out, told = process.communicate("go on\n", timeout=_TIMEOUT_S)

    assert process.returncode == 0, told
    logged, dropped, longest_ms = (float(word) for word in out.split()[-3:])
    print(f"logged {logged:.0f}, dropped {dropped:.0f}, longest call of log {longest_ms:.1f} ms")
    run = server.run(run_id)
    kept = [key for key, _, _ in run.points if key != "after"]
    assert dropped > 0
    assert len(kept) + dropped == logged, "points are missing that were not counted"
    assert "points dropped so far (on_full=drop_oldest_points" in told
    assert run.params == {"kept": "yes"}
    assert run.start is not None
    assert run.end is not None
    assert run.steps("after") == list(range(200))
