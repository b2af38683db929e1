"""Count the CPU cores that this process may use."""

import contextlib
import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Return the number of cores that the CPU affinity and the control group's quota allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores
