"""A plugin: a test that is marked `alone` runs while no other one does, in whichever worker.

What is promised of a machine that does nothing else can be judged so, without a run of its own. The two locks keep
order: whoever waits for the second one holds the first, and nobody comes before him.
"""

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FOLDER = pytest.StashKey[Path]()
_INPUT = "turns"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker, before it starts, where the locks are."""
    if _FOLDER not in node.config.stash:
        kept = tempfile.TemporaryDirectory(prefix="modelstead-turns-")
        node.config.add_cleanup(kept.cleanup)
        node.config.stash[_FOLDER] = Path(kept.name)
    node.workerinput[_INPUT] = str(node.config.stash[_FOLDER])


# Before the timeout of pytest-timeout begins: whoever waits for his turn does not use up his time.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Wait until it is the test's turn, run it, and let others have theirs."""
    folder = getattr(item.config, "workerinput", {}).get(_INPUT)
    if folder is None:  # There are no other workers.
        return (yield)
    with (Path(folder) / "first").open("w") as first, (Path(folder) / "second").open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        fcntl.flock(second, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(first, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:  # A process that the test forked may still have the file.
            fcntl.flock(second, fcntl.LOCK_UN)
