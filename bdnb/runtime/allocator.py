"""The C library's allocator, told to keep freed memory: a step then finds its pages mapped.

By default glibc gives every large block back to the system, so that each step of training faults
in all its activations again: an eighth of a step's time on a CPU. Changes no result.
"""

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@cache
def keep_freed_memory() -> bool:
    """Keep freed blocks for this process; whether the C library could be told (glibc only)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, -1) and mallopt(M_MMAP_MAX, 0))
