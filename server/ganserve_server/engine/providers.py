"""Choose the execution provider once, at start, and give the reason.

onnxruntime falls back to the CPU with only a log line when CUDA cannot be loaded (microsoft/onnxruntime#23372, #17801),
and `get_available_providers()` lists CUDA even then. So this module checks each thing that CUDA needs, which gives a
precise reason, and then makes a session: only `session.get_providers()` can be trusted.
"""

import contextlib
import ctypes
import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np  # noqa: F401 - Ctrl-C while onnxruntime imports it would become an error of that import
import onnxruntime

from ganserve_server.errors import ProviderError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINO"
"""OpenVINO itself, without onnxruntime: `openvino_session`."""
ON_CPU = frozenset({CPU, OPENVINO})

IDENTITY_GRAPH = bytes.fromhex(
    "08073a370a100a017812017922084964656e746974791201675a0f0a0178120a"
    "0a08080112040a020801620f0a0179120a0a08080112040a02080142040a00100d"
)
"""An ONNX graph with one Identity node. A session of it loads the provider."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderChoice:
    """The execution provider of every session."""

    name: str
    """onnxruntime's name of the provider."""
    reason: str
    """Reason for the choice, for the startup report."""


def choose_provider(
    provider: Literal["auto", "cuda", "tensorrt", "openvino", "cpu"], *, bfloat16: bool = False
) -> ProviderChoice:
    """Choose the execution provider; raise ProviderError if a requested one is not available.

    `auto` never chooses OpenVINO, whose samples differ in a level of 255 here and there.
    """
    if provider == "openvino":
        obstacle = _openvino_obstacle() or (_bfloat16_obstacle() if bfloat16 else None)
        if obstacle is not None:
            raise ProviderError(obstacle)
        return ProviderChoice(name=OPENVINO, reason="requested, in bfloat16" if bfloat16 else "requested, in float32")
    if provider == "cpu":
        return ProviderChoice(name=CPU, reason="requested")
    obstacle = cuda_obstacle()
    if provider == "tensorrt":
        obstacle = obstacle or _tensorrt_obstacle()
        if obstacle is not None:
            raise ProviderError(
                f"TensorRT was requested but is not available: {obstacle}. To run without it: --provider cuda or cpu"
            )
        return ProviderChoice(name=TENSORRT, reason="requested")
    if obstacle is None:
        return ProviderChoice(name=CUDA, reason="requested" if provider == "cuda" else "a GPU was found")
    if provider == "cuda":
        raise ProviderError(f"CUDA was requested but is not available: {obstacle}. To run on the CPU: --provider cpu")
    return ProviderChoice(name=CPU, reason=f"CUDA is not available: {obstacle}")


def cuda_obstacle() -> str | None:
    """Return why CUDA is not available in this process; None if it is. Loads the CUDA libraries."""
    return _gpu_obstacle() or _library_obstacle() or _session_obstacle()


def looks_for_cuda(provider: str) -> bool:
    """Return whether `choose_provider` will load CUDA's libraries; what is written to stdout meanwhile is lost."""
    return provider not in ("cpu", "openvino") and _gpu_obstacle() is None


def _gpu_obstacle() -> str | None:
    """Return why CUDA's libraries need not be loaded: this build or this machine has no use for them."""
    return _build_obstacle() or _driver_obstacle()


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
        return f"the NVIDIA driver finds no usable GPU (CUDA error {status}; see nvidia-smi and CUDA_VISIBLE_DEVICES)"
    return None if count.value else "the NVIDIA driver finds no GPU (see nvidia-smi and CUDA_VISIBLE_DEVICES)"


def _library_obstacle() -> str | None:
    # preload_dlls prints the missing libraries; the error of the provider's library below names them better.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls(directory="")
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
        # onnxruntime loads cuDNN on first use, and has no convolutions without it (microsoft/onnxruntime#29252).
        ctypes.CDLL("libcudnn.so.9")
    except OSError as error:
        return (
            f"a library of CUDA {onnxruntime.cuda_version} or cuDNN is missing ({error}); "
            "pip install 'ganserve[cuda]' installs them"
        )
    return None


def _session_obstacle(provider: str = CUDA) -> str | None:
    session = onnxruntime.InferenceSession(IDENTITY_GRAPH, providers=[provider, CPU])
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


def _openvino_obstacle() -> str | None:
    if importlib.util.find_spec("openvino") is None:
        return (
            "--provider openvino: OpenVINO is not installed: pip install 'ganserve[openvino]'. To run without it: "
            "--provider cpu"
        )
    try:
        from ganserve_server.engine.openvino_library import load_libraries

        load_libraries(IDENTITY_GRAPH)
    except ProviderError:
        raise
    except Exception as error:  # noqa: BLE001 - an installation can be broken in any way
        return f"--provider openvino: OpenVINO cannot be loaded ({error}). To run without it: --provider cpu"
    return None


def _bfloat16_obstacle() -> str | None:
    from ganserve_server.engine.openvino_library import has_bfloat16

    if has_bfloat16():
        return None
    return "--bfloat16: this CPU has no instructions for bfloat16 (AVX-512 BF16 or AMX). Leave it out."
