"""The data folder: what marks it, who may have it, what it keeps to itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.local.data_dir import DataDir
from services.local.errors import LocalError

HOLD = """
import pathlib, sys
from services.local.data_dir import DataDir
with DataDir(pathlib.Path(sys.argv[1]), url="http://127.0.0.1:1234"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_new_folder_is_marked_and_kept_out_of_git(data_path: Path) -> None:
    with DataDir(data_path):
        assert (data_path / "VERSION").read_text() == "1\n"
        assert (data_path / ".gitignore").read_text() == "*\n"


def test_a_second_launcher_is_told_of_the_first(data_path: Path) -> None:
    holder = _hold(data_path)

    with pytest.raises(LocalError) as raised:
        DataDir(data_path)

    assert str(raised.value) == (
        f"Modelstead already runs on {data_path} (process {holder.pid}, http://127.0.0.1:1234)."
    )
    holder.communicate()


def test_a_launcher_that_was_killed_leaves_the_folder_free(data_path: Path) -> None:
    holder = _hold(data_path)

    holder.kill()
    holder.communicate()

    DataDir(data_path).close()


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(LocalError, match="holds other files than Modelstead's"):
        DataDir(tmp_path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_a_newer_layout_is_refused(data_path: Path) -> None:
    DataDir(data_path).close()
    (data_path / "VERSION").write_text("2\n")

    with pytest.raises(LocalError, match="layout '2', this release knows 1"):
        DataDir(data_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_folder_of_another_user_is_refused(data_path: Path) -> None:
    DataDir(data_path).close()
    os.chown(data_path / "VERSION", 65534, 65534)

    with pytest.raises(LocalError, match="belongs to the user"):
        DataDir(data_path)


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    with pytest.raises(LocalError, match=f"The data folder {file.resolve()}/data cannot be used"):
        DataDir(file / "data")


def test_a_secret_stays_the_same_and_differs_between_folders(tmp_path: Path) -> None:
    secrets = set()
    for folder in ("a", "a", "b"):
        with DataDir(tmp_path / folder) as data_dir:
            secrets.add(data_dir.secret("key"))

    assert len(secrets) == 2
    assert min(map(len, secrets)) >= 32


def _hold(data_path: Path) -> "subprocess.Popen[str]":
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, data_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder
