"""Make the C library keep freed memory for the next step.

glibc returns the memory of large tensors to the kernel as soon as they are freed. The next step requests it again, and
the kernel clears every page: up to a tenth of the processor time of a small network.
"""

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**30
_MOST_FROM_HEAP_BYTES = 2**25  # glibc's upper limit
_USER_SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep up to 1 GiB of freed memory in this process; return True if that worked.

    Variables of the environment that set the thresholds have the last word.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _USER_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MOST_FROM_HEAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
