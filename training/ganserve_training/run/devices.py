"""Where training computes, and with how many threads."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

import torch

from ganserve_training.config import Precision
from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.run import launcher_environment as launched
from ganserve_training.run.distributed import leave_group, notice_lost_processes

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DeviceName = Literal["auto", "cpu", "cuda"]


def check_device(device: DeviceName, processes: int = 1) -> None:
    """Refuse a device that can't be had, or not for so many processes on this machine.

    Raises:
        ConfigError: With a fix.
    """
    if device == "cuda" and not torch.cuda.is_available():
        reason = "is built without CUDA" if torch.version.cuda is None else "finds no usable NVIDIA GPU"
        raise ConfigError(f"--device cuda: torch {torch.__version__} {reason}: use --device cpu or auto")
    if _uses_cuda(device) and processes > torch.cuda.device_count():
        raise ConfigError(
            f"each process on this machine needs a GPU of its own (got {processes} processes, "
            f"{torch.cuda.device_count()} GPUs): use --processes {torch.cuda.device_count()}, or --device cpu"
        )


def open_fabric(device: DeviceName, precision: Precision = "float32") -> Fabric:
    """The device, and the other processes where this one was started as one of several.

    Args:
        device: Where to compute; auto takes CUDA if there is any.
        precision: Of the networks' products.

    Raises:
        ConfigError: CUDA is asked for and can't be had.
        LostProcessError: The others don't come.
    """
    check_device(device, launched.local_world())
    from lightning_fabric import Fabric  # Takes a second to import, which a finished run has no use for.

    # It tells every start of several processes in a banner, and so would torch of each.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator="cuda" if _uses_cuda(device) else "cpu",
        devices=launched.local_world(),
        num_nodes=launched.world() // launched.local_world(),
        strategy="ddp" if launched.is_launched() else "auto",
        precision="32-true" if precision == "float32" else "bf16-mixed",
    )
    with notice_lost_processes() if launched.world() > 1 else nullcontext():
        fabric.launch()
    if launched.is_launched() and fabric.device.type == "cpu":
        atexit.register(leave_group)  # With CUDA, Fabric has done it.
    return fabric


def _uses_cuda(device: DeviceName) -> bool:
    return device != "cpu" and torch.cuda.is_available()


def default_threads(data: DataInfo) -> int:
    """CPU threads for samples of this size: one for vectors and up to 16 x 16 pixels, else all cores, at most 8.

    Several processes on one machine share its cores evenly.

    Threads of small networks mostly wait for each other. Measured with the digits on 2 cores (torch 2.13): a second
    thread doubles the processor time and saves no wall time, and where other programs keep the cores busy it makes
    training many times slower.
    """
    small = not data.is_image or data.height * data.width <= 256
    return 1 if small else max(1, min(8, len(os.sched_getaffinity(0)) // launched.local_world()))


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside, and what it used before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
