"""Choose the device and the number of CPU threads."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.distributed as dist
from threadpoolctl import threadpool_limits

from ganserve_training.data.sample_info import DataInfo
from ganserve_training.errors import ConfigError
from ganserve_training.run import launcher_environment as launched
from ganserve_training.run.distributed import Processes, leave_group, notice_lost_processes

DeviceName = Literal["auto", "cpu", "cuda"]


def check_device(device: DeviceName, processes: int = 1) -> None:
    """Refuse a device that is missing, or has too few GPUs for the processes on this machine."""
    if device == "cuda" and not torch.cuda.is_available():
        reason = "is built without CUDA" if torch.version.cuda is None else "finds no usable NVIDIA GPU"
        raise ConfigError(f"--device cuda: torch {torch.__version__} {reason}. Use --device cpu or auto.")
    if _uses_cuda(device) and processes > torch.cuda.device_count():
        gpus = torch.cuda.device_count()
        problem = f"each process on this machine needs its own GPU, and there are {gpus}"
        raise ConfigError(f"--processes {processes}: {problem}. Use --processes {gpus}, or --device cpu.")


def open_processes(device: DeviceName) -> Processes:
    """Choose this process's device (auto: CUDA if there is any), and join the other processes if there are any.

    Raises:
        ConfigError: CUDA is requested and not available.
        LostProcessError: The others can't be reached.
    """
    check_device(device, launched.local_world())
    place = torch.device("cpu")
    if _uses_cuda(device):
        place = torch.device("cuda", launched.local_rank())
        torch.cuda.set_device(place)
    if launched.world() > 1 and not dist.is_initialized():
        with notice_lost_processes():
            dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
        atexit.register(leave_group)
    return Processes(launched.rank(), launched.world(), place)


def _uses_cuda(device: DeviceName) -> bool:
    return device != "cpu" and torch.cuda.is_available()


def default_threads(data: DataInfo) -> int:
    """Return the CPU threads to use: one for vectors and images up to 16 x 16 pixels, else all cores, at most 8.

    Several processes on one machine share its cores evenly. Threads of small networks mostly wait for each other.
    Measured with the digits on 2 cores (torch 2.13): a second thread doubles the processor time and saves no wall time;
    if other programs use the cores, training gets many times slower.
    """
    small = not data.is_image or data.height * data.width <= 256
    return 1 if small else max(1, min(8, len(os.sched_getaffinity(0)) // launched.local_world()))


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch, and NumPy's and scikit-learn's libraries, use `count` threads inside the block.

    NumPy's threads spin: a small product of the diagnosis took several times its time on two cores.
    """
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
