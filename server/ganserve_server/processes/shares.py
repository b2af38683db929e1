"""Share out the settings' limits among the processes of a server, so that together they keep to them."""

from __future__ import annotations

from dataclasses import replace

from ganserve_server.queue.memory_budget import memory_limit_bytes
from ganserve_server.requests.limits import Limits
from ganserve_server.settings import ServerConfig

_MIB = 2**20
_SUPERVISOR_MIB = 64


def share_of(config: ServerConfig, index: int, processes: int) -> ServerConfig:
    """Return the settings of one process, counted from 0.

    What is counted or measured in a process is divided: memory, connections, a caller's calls, waiting samples.
    Processes take the GPUs in turn. Quotas are not divided: `usage` counts them over all processes.
    """
    memory_mib = config.memory_limit_mib or memory_limit_bytes() // _MIB
    return replace(
        config,
        processes=1,
        devices=_devices(config.devices, index, processes),
        workers=-(-config.workers // processes),
        memory_limit_mib=max(1, (memory_mib - _SUPERVISOR_MIB) // processes),
        max_connections=max(1, Limits.of(config).max_connections // processes),
        max_caller_calls=max(1, config.max_caller_calls // processes),
        max_queued_samples=max(config.batch_size, config.max_queued_samples // processes),
    )


def _devices(devices: tuple[int, ...], index: int, processes: int) -> tuple[int, ...]:
    """Return the GPUs of one process: every GPU is used, and each by as few processes as possible."""
    if processes >= len(devices):
        return (devices[index % len(devices)],)
    return devices[index::processes]
