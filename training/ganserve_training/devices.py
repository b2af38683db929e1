"""Where training computes, and with how many threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch

from ganserve_training.config import Precision
from ganserve_training.data.info import DataInfo
from ganserve_training.errors import ConfigError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DeviceName = Literal["auto", "cpu", "cuda"]


def open_fabric(device: DeviceName, precision: Precision = "float32") -> "Fabric":
    """The device, and the other processes where torchrun started several.

    Args:
        device: where to compute; auto takes CUDA if there is any.
        precision: of the networks' products.

    Raises:
        ConfigError: CUDA is asked for and can't be had.
    """
    if device == "cuda" and not torch.cuda.is_available():
        reason = "is built without CUDA" if torch.version.cuda is None else "finds no usable NVIDIA GPU"
        raise ConfigError(f"--device cuda: torch {torch.__version__} {reason}: use --device cpu or auto")
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    from lightning_fabric import Fabric  # Takes a second to import, which a finished run has no use for.

    several = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=accelerator,
        devices=several,
        num_nodes=int(os.environ.get("WORLD_SIZE", "1")) // several,
        strategy="ddp" if "TORCHELASTIC_RUN_ID" in os.environ else "auto",
        precision="32-true" if precision == "float32" else "bf16-mixed",
    )
    fabric.launch()
    return fabric


def default_threads(data: DataInfo) -> int:
    """CPU threads for samples of this size: one for vectors and up to 16 x 16 pixels, else all cores, at most 8.

    Threads of small networks mostly wait for each other. Measured with the digits on 2 cores (torch 2.13): a second
    thread doubles the processor time and saves no wall time, and where other programs keep the cores busy it makes
    training many times slower.
    """
    small = not data.is_image or data.height * data.width <= 256
    return 1 if small else min(8, len(os.sched_getaffinity(0)))


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads inside, and what it used before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
