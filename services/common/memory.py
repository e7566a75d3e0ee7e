"""The memory of a process: how much its container may have, and how the C library keeps what large blocks have left."""

import contextlib
import ctypes
import math
from collections.abc import Iterable
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 4 * 1024 * 1024
_ARENAS_MAX = 2
# As a container sees its own control group, in the second and in the first version of these.
_LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# The first version writes the largest number of pages for none.
_NO_LIMIT = 2**62


def limit_bytes(files: Iterable[Path] = _LIMIT_FILES) -> float:
    """Return how many bytes the container may have before the kernel ends a process; infinity if nothing says so."""
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            limit = int(file.read_text())
            return limit if limit < _NO_LIMIT else math.inf
    return math.inf


def keep_little() -> None:
    """Have at most 4 MiB at the end of each of two heaps kept for blocks to come, which all threads share.

    Else glibc keeps what blocks of a mebibyte have left for each thread by itself, which a process that moves contents
    pays with ten times what is under way; or, with thresholds below such blocks, it maps each of them anew, and the
    faults of its pages cost more than copying and hashing it. Does nothing with another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _ARENAS_MAX)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
