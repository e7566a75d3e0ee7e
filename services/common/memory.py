"""How the C library keeps memory that large blocks of bytes have left."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 4 * 1024 * 1024
_ARENAS_MAX = 2


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
