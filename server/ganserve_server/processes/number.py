"""Choose the number of server processes."""

from __future__ import annotations

import math
import sys

from ganserve_server.error_text import counted
from ganserve_server.processes.scout import measure
from ganserve_server.queue.memory_budget import memory_limit_bytes
from ganserve_server.settings import ServerConfig

REQUEST_S = 0.2e-3
"""CPU seconds of a small request beside the model's calls, most of them in one thread of Python
(`benchmarks/serving/README.md`, processes)."""
_MOST, _MOST_ON_GPU = 16, 4  # a GPU holds the models, and CUDA's own memory, for each process
_LEAST_BYTES = 512 * 2**20  # of memory for each process


def choose_processes(config: ServerConfig) -> tuple[int, str]:
    """Return the number of processes, and why, for the report of the start.

    A process does one request's own work at a time, beside the model's calls on other cores. If a sample takes t
    seconds of the model's calls, C cores answer C / (REQUEST_S + t) requests of one sample a second, for which one
    process is enough while its own work, REQUEST_S each, fits into a second.
    """
    if config.processes != "auto":
        return config.processes, ""
    if sys.platform != "linux":
        return 1, " (auto: only Linux shares a port's connections out)"
    if config.host.startswith("unix:"):
        return 1, " (auto: a Unix socket belongs to one)"
    measured = measure(config.without_http())
    if measured is None:
        return 1, " (auto: no model could be measured)"
    memory_bytes = (config.memory_limit_mib * 2**20) or memory_limit_bytes()
    most = _MOST_ON_GPU * len(config.devices) if measured.on_gpu else _MOST
    number = min(processes_for(measured.sample_s, measured.cores, memory_bytes), most)
    took = f"{measured.sample_s * 1e3:.2g} ms of CPU time"
    cores = f"{'is' if measured.cores == 1 else 'are'} {counted(measured.cores, 'core')}"
    return number, f" (auto: a sample takes {took}, and there {cores})"


def processes_for(sample_s: float, cores: int, memory_bytes: int) -> int:
    """Return how many processes keep the cores busy with requests of one sample."""
    busy = math.ceil(cores * REQUEST_S / (REQUEST_S + sample_s))
    return max(1, min(busy, cores, _MOST, memory_bytes // _LEAST_BYTES))
