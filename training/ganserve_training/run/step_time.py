"""Measure how long a step of training takes on this machine, before a run begins."""

from __future__ import annotations

import time

import numpy as np

from ganserve_training.config import TrainConfig
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.data.samples_in_memory import Images
from ganserve_training.run.devices import DeviceName, cpu_threads, default_threads, open_processes
from ganserve_training.run.training_step import Trainer

_LEAST_STEPS = 2
"""The first step takes longer than the others, by seconds on a busy machine."""
_MEASURED_STEPS = 4
_MOST_SECONDS = 3.0


def seconds_per_step(config: TrainConfig, info: DataInfo, device: DeviceName, threads: int | None) -> float:
    """Return the wall time of one step of a configuration, in seconds, on noise in place of pictures.

    The fastest of a few steps counts, as the first ones have other work to do, and other programs may disturb some.
    """
    count = max(2 * len(info.label_names), config.batch_size)
    pixels = np.random.default_rng(0).integers(0, 256, (count, *info.sample_shape), np.uint8)
    labels = np.arange(count) % len(info.label_names) if info.label_names else None
    images = Images(pixels=pixels, labels=labels, label_names=info.label_names)
    processes = open_processes(device)
    taken: list[float] = []
    with cpu_threads(threads or default_threads(info)):
        trainer = Trainer(config, images, processes)
        try:
            while len(taken) < _LEAST_STEPS or (len(taken) < _MEASURED_STEPS and sum(taken) < _MOST_SECONDS):
                started = time.perf_counter()
                trainer.run_step().cpu()
                taken.append(time.perf_counter() - started)
        finally:
            trainer.close()
    return min(taken)
