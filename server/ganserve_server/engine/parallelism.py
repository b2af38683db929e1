"""Choose the number of workers, their threads, and the batch sizes that calls are padded to."""

import math
import os
from collections.abc import Sequence

from ganserve_server.control_groups import cpu_limit
from ganserve_server.engine.providers import ON_CPU

_MAX_WORKERS = 16


def choose_parallelism(
    provider: str, workers: int, threads: int, sessions: int = 1, processes: int = 1
) -> tuple[int, int]:
    """Return the number of workers (simultaneous calls) and the threads of each call; 0 means choose.

    `processes` share the machine's cores.

    On GPUs each session gets two workers: one draws latents and delivers results while the other's call runs. On an
    H100 that gave a third more samples/s (`benchmarks/gpu`, 64 samples a request).

    On the CPU many calls of one thread beat one call of many threads, because no call waits for the slowest thread of
    each layer. Spinning threads hide that wait, but made calls three times slower when another process used the cores.
    On two cores, 64 samples of an 8x8 generator took 1.4 ms with two calls of one thread, 1.7 ms with one call of two
    spinning threads, and 2.9 ms with two threads that do not spin (`benchmarks/serving/overhead.py`).
    """
    if provider not in ON_CPU:
        return workers or 2 * sessions, threads or 1
    cores = max(1, usable_cores() // processes)
    workers = workers or min(cores, _MAX_WORKERS)
    return workers, threads or max(1, cores // workers)


def choose_lone_threads(provider: str, lone_threads: int, processes: int = 1) -> int:
    """Return the most threads of a call that runs alone; 0 means choose. `processes` share the machine's cores.

    One of several processes cannot know whether the others are idle, so it keeps to its share.
    """
    return lone_threads or (max(1, usable_cores() // processes) if provider in ON_CPU else 1)


def choose_buckets(provider: str, buckets: Sequence[int], max_batch_size: int) -> tuple[int, ...]:
    """Return the batch sizes that calls are padded to, ending with `max_batch_size`; () for no padding.

    On the CPU the time of a call grows with its samples, so padding is waste. On a GPU a small call takes as long as a
    somewhat larger one, and each size needs its own algorithm search, capture and memory.
    """
    if not buckets:
        if provider in ON_CPU:
            return ()
        buckets = [4**power for power in range(16) if 4**power < max_batch_size]
    return tuple(sorted({*(bucket for bucket in buckets if bucket < max_batch_size), max_batch_size}))


def usable_cores() -> int:
    """Return the number of cores that the CPU affinity and the control groups' quotas allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_limit()
    return cores if quota is None else min(cores, max(1, math.ceil(quota)))
