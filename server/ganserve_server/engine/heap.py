"""Has the C library keep freed memory for the answers to come.

glibc gives memory at the top of its heap back to the kernel as soon as 128 KiB of it are free, and asks for it again
for the next answer, page by page: for 64 samples of 32x32x3 that took longer than everything else that the server did.
"""

from __future__ import annotations

import ctypes
import os
import sys

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 * 2**20
_MOST_FROM_HEAP_BYTES = 32 * 2**20  # the most that glibc allows
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep up to 256 MiB of each heap that are free, unless the environment says otherwise or there is no glibc.

    Returns:
        Whether it does.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OF_THE_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MOST_FROM_HEAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
