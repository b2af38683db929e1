"""Make the C library keep freed memory for the next answers.

glibc returns memory at the top of its heap to the kernel as soon as 128 KiB of it are free, and requests it again page
by page for the next answer. For 64 samples of 32x32x3 that took longer than all other work of the server.
"""

import ctypes
import os
import sys

from ganserve_server.control_groups import usable_memory

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 256 * 2**20
_MOST_FROM_HEAP_BYTES = 32 * 2**20  # glibc's upper limit
_USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory(limit_mib: int = 0) -> bool:
    """Keep up to 256 MiB free in each heap, or a sixteenth of the memory if that is less; return True if that worked.

    The memory is the limit, or for 0 what the control group or the machine has.

    Variables of the environment that set the thresholds have the last word.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _USER_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = min(_KEPT_BYTES, (limit_mib * 2**20 or usable_memory()) // 16)
    return bool(mallopt(_M_MMAP_THRESHOLD, _MOST_FROM_HEAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, kept))
