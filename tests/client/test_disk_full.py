"""A spool on a disk of 16 MB, a server that is away, and a job that logs more than that."""

import os
import subprocess
import sys
from pathlib import Path

from tests.client import leftovers
from tests.client.server import IngestServer

_TIMEOUT_S = 120


# A file system of its own for a folder and a program, which needs no root: both are in namespaces of their own.
_ON_A_SMALL_DISK = (
    *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
    'mount -t tmpfs -o size=16m tmpfs "$1" && shift && exec "$@"',
    "sh",
)


def test_points_that_do_not_fit_are_dropped_and_counted_and_the_job_heals(server: IngestServer, tmp_path: Path) -> None:
    server.stop()
    job = [sys.executable, "-P", "-m", "tests.client.jobs", "fills-the-disk", server.address, str(tmp_path / "spool")]
    process = subprocess.Popen(
        [*_ON_A_SMALL_DISK, str(tmp_path), *job],
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


def test_what_was_left_is_sent_from_a_full_disk(server: IngestServer, tmp_path: Path) -> None:
    program = [sys.executable, "-P", "-m", "tests.client.leftovers", server.address, str(tmp_path / "spool")]

    done = subprocess.run(
        [*_ON_A_SMALL_DISK, str(tmp_path), *program], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )

    assert done.returncode == 0, done.stderr
    taken_up, sent, batches, stuck, sent_later = done.stdout.splitlines()
    assert (taken_up, sent, batches) == ("1", "2", "2")
    # There is no place that its state could take.
    assert "No space left on device" in stuck
    assert sent_later == "1"
    assert [key for key, _, _ in server.run(leftovers.RUN_ID).points] == ["new", "again", "old"]
    epochs = [opening.open.epoch for opening in server.openings]
    assert sorted(epochs) == [1, 2, 2]
    assert len({opening.open.session_id for opening in server.openings}) == 3
