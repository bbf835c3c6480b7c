"""Keeping freed host memory, for training on CPU.

XLA's CPU backend allocates a step's temporaries with malloc and frees them after it. glibc maps
such large blocks anew each time, and the kernel then zeroes every page of them again: a third of a
step's time at laptop sizes (benchmarks/RESULTS.md).
"""

import ctypes
import platform

# Parameters of mallopt(3) and what they are set to: no allocation by mmap, no returning of the
# heap's top, one arena (others grow by mmap).
_MALLOPT = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}


def keep_freed_memory() -> bool:
    """Makes malloc reuse freed memory instead of returning it; True where that worked.

    Call it before the first computation. Does nothing but on Linux with glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(number, value) == 1 for number, value in _MALLOPT.values())
