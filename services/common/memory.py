"""How the C library keeps memory that large blocks of bytes have left."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 256 * 1024
_ARENAS_MAX = 2


def give_back_large_blocks() -> None:
    """Have blocks of 256 KiB and more returned to the system when they are freed, and threads share two heaps.

    Else glibc, after the first such block, keeps those of every thread for itself, which a process that moves contents
    pays with ten times what is under way. Does nothing with another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _ARENAS_MAX)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
