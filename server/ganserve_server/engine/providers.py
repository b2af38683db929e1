"""Chooses the execution provider once, at start, and says why.

onnxruntime falls back to the CPU with no more than a log line when CUDA cannot be loaded (microsoft/onnxruntime#23372,
#17801), and `get_available_providers()` lists CUDA even then. So each thing that CUDA needs is asked for by itself,
which gives a reason that names it, and at last a session is made: `session.get_providers()` is the truth.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import enum
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from ganserve_server.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Sequence

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

# A graph of one Identity node, as ONNX: making a session of it makes the provider.
_IDENTITY_GRAPH = bytes.fromhex(
    "08073a370a100a017812017922084964656e746974791201675a0f0a0178120a"
    "0a08080112040a020801620f0a0179120a0a08080112040a02080142040a00100d"
)


_MAX_WORKERS = 16


class Provider(enum.Enum):
    """What a user may ask for."""

    AUTO = "auto"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    CPU = "cpu"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProviderChoice:
    """The execution provider that every session gets."""

    name: str
    """onnxruntime's name of it."""
    reason: str
    """Why this one, in words."""


def choose_provider(provider: Provider) -> ProviderChoice:
    """Chooses the execution provider.

    Raises:
        ProviderError: CUDA or TensorRT was asked for and cannot be had; the message says why.
    """
    if provider is Provider.CPU:
        return ProviderChoice(name=CPU, reason="asked for")
    obstacle = cuda_obstacle()
    if provider is Provider.TENSORRT:
        obstacle = obstacle or _tensorrt_obstacle()
        if obstacle is not None:
            raise ProviderError(
                f"TensorRT was asked for and cannot be had: {obstacle}. To run without it: --provider cuda or cpu"
            )
        return ProviderChoice(name=TENSORRT, reason="asked for")
    if obstacle is None:
        return ProviderChoice(name=CUDA, reason="asked for" if provider is Provider.CUDA else "a GPU was found")
    if provider is Provider.CUDA:
        raise ProviderError(f"CUDA was asked for and cannot be had: {obstacle}. To run on the CPU: --provider cpu")
    return ProviderChoice(name=CPU, reason=f"CUDA cannot be had: {obstacle}")


def choose_parallelism(provider: str, workers: int, threads: int, sessions: int = 1) -> tuple[int, int]:
    """Return workers (calls at a time) and threads of each; 0 as an argument leaves that one to this function.

    On GPUs each session of a graph gets two: one draws latents and delivers while the other's call runs, which on an
    H100 made a third more samples/s (`benchmarks/gpu`, 64 a request).

    On the CPU many calls of one thread beat one call of many threads: nothing waits for the slowest thread of each
    layer, and spinning, which hides that wait, made calls three times slower when another process wanted the cores.
    Measured on two cores for 64 samples of an 8x8 generator: 1.4 ms with two calls of one thread, 1.7 ms with one call
    of two spinning threads, 2.9 ms with two threads that do not spin (`benchmarks/serving/overhead.py`).
    """
    if provider != CPU:
        return workers or 2 * sessions, threads or 1
    cores = usable_cores()
    workers = workers or min(cores, _MAX_WORKERS)
    return workers, threads or max(1, cores // workers)


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def cuda_obstacle() -> str | None:
    """Return why CUDA cannot be had in this process, or None if it can. Loads the CUDA libraries."""
    return _build_obstacle() or _driver_obstacle() or _library_obstacle() or _session_obstacle()


def _build_obstacle() -> str | None:
    if CUDA in onnxruntime.get_available_providers():
        return None
    return (
        f"the installed onnxruntime {onnxruntime.__version__} is built without CUDA; "
        "in a fresh environment: pip install 'ganserve[cuda]'"
    )


def _driver_obstacle() -> str | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"there is no NVIDIA driver ({error})"
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        return (
            f"the NVIDIA driver finds no GPU it can use (CUDA error {status}; see nvidia-smi and CUDA_VISIBLE_DEVICES)"
        )
    return None if count.value else "the NVIDIA driver finds no GPU (see nvidia-smi and CUDA_VISIBLE_DEVICES)"


def _library_obstacle() -> str | None:
    # preload_dlls prints what it misses; the provider's own library, loaded next, names it better.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls(directory="")
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
        # onnxruntime loads it when it first needs it, and without it has no convolutions (microsoft/onnxruntime#29252).
        ctypes.CDLL("libcudnn.so.9")
    except OSError as error:
        return (
            f"a library of CUDA {onnxruntime.cuda_version} or cuDNN is missing ({error}); "
            "pip install 'ganserve[cuda]' installs them"
        )
    return None


def _session_obstacle(provider: str = CUDA) -> str | None:
    session = onnxruntime.InferenceSession(_IDENTITY_GRAPH, providers=[provider, CPU])
    if session.get_providers()[0] == provider:
        return None
    return f"onnxruntime could not create its {provider}, although its libraries are there (its log says more)"


def _tensorrt_obstacle() -> str | None:
    if TENSORRT not in onnxruntime.get_available_providers():
        return f"the installed onnxruntime {onnxruntime.__version__} is built without TensorRT"
    try:
        ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so"))
    except OSError as error:
        return f"a library of TensorRT is missing ({error}); install NVIDIA's tensorrt package"
    return _session_obstacle(TENSORRT)


def choose_buckets(provider: str, buckets: Sequence[int], max_batch_size: int) -> tuple[int, ...]:
    """Return the batch sizes that calls are padded to, the last one `max_batch_size`; none: any size.

    On the CPU a call of few samples costs as much as they do, so that padding is waste. On a GPU a small call costs as
    much as a somewhat larger one, and each size must be searched, captured and kept in memory.
    """
    if not buckets:
        if provider == CPU:
            return ()
        buckets = [4**power for power in range(16) if 4**power < max_batch_size]
    return tuple(sorted({*(bucket for bucket in buckets if bucket < max_batch_size), max_batch_size}))
