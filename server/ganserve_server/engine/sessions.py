"""Make onnxruntime sessions with the requested execution provider, and run batches of any size on the CPU.

On the CPU `PlainSession` is faster than `BoundSession` (by 1 to 4 %, 2 cores, onnxruntime 1.31). On a GPU a new batch
size costs seconds and CUDA graphs need fixed addresses, so `bound_session` runs a few fixed sizes. N = batch.
"""

import collections
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ganserve_server.engine.cuda_capture_lock import CaptureLock
from ganserve_server.engine.onnx_files import precision_of
from ganserve_server.engine.providers import CPU, CUDA, ON_CPU, TENSORRT
from ganserve_server.error_text import counted
from ganserve_server.errors import EngineError, MemoryFullError, PackageError, ProviderError

Feed = dict[str, NDArray[np.generic]]
"""Each input by name, [N, ...]."""


DTYPES: dict[str, np.dtype[np.generic]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int64)": np.dtype(np.int64),
}
"""numpy's element types by onnxruntime's names."""
CAPTURE_LOCK = CaptureLock()
# Parts of the messages of onnxruntime, CUDA, cuDNN and cuBLAS when memory runs out.
_OUT_OF_MEMORY = (
    "bad_alloc",
    "bad allocation",
    "no memory left",
    "failed to allocate",
    "out of memory",
    "alloc_failed",
    "allocation_failed",
    "available memory of",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Options for running graphs."""

    provider: str
    """onnxruntime's name of the execution provider, from `providers.choose_provider`."""
    threads: int
    """Threads of one call on the CPU."""
    calls: int = 1
    """Simultaneous calls."""
    lone_threads: int = 1
    """Most threads of a call that runs alone; at most `threads`: as others."""
    bfloat16: bool = False
    """Compute in bfloat16, with 7 bits of mantissa (OpenVINO only)."""
    spinning: bool = False
    """Let these threads spin while they wait for work."""
    buckets: tuple[int, ...] = ()
    """Batch sizes that calls are padded to, ascending; (): calls have any size."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Replay calls as CUDA graphs. auto: if CUDA runs all nodes."""
    conv_search: Literal["measure", "heuristic", "exhaustive", "default"] = "measure"
    """Choice of a convolution's algorithm by cuDNN: its heuristics A ("heuristic") or B ("exhaustive", onnxruntime's
    name), or an algorithm that works everywhere ("default"). measure: the faster of A and B for the largest bucket."""
    conv_layout: Literal["measure", "nchw", "nhwc"] = "measure"
    """Memory layout of convolutions. measure: the faster one for the largest bucket."""
    tf32: bool = False
    """Allow TF32, with 10 bits of mantissa, for float32 in matrix products and convolutions."""
    gpu_memory_limit_mib: int = 0
    """Most memory of each session's arena. 0: no limit."""
    devices: tuple[int, ...] = (0,)
    """GPUs, by CUDA's numbers."""
    instances: int = 1
    """Sessions of each graph on each device."""
    shared_weights: Path | None = None
    """Folder of weights that processes share on the CPU; None: each has its own."""


class PlainSession:
    """A session on the CPU. Several threads may call it at once."""

    cuda_graphs = False

    def __init__(
        self, file: str, content: bytes, config: EngineConfig, output_names: Sequence[str], device: int
    ) -> None:
        """Make the session; see `BoundSession`."""
        self.file = file
        self.device = f"cpu:{device}" if device else "cpu"
        self.session = make_session(file, content, config, [(CPU, {})])
        self.nodes_by_provider = nodes_by_provider(self.session)
        self.providers = tuple[str, ...](self.session.get_providers())
        self.inputs, self.outputs = self.session.get_inputs(), self.session.get_outputs()
        self._output_names = list(output_names)
        self._options = onnxruntime.RunOptions()  # otherwise onnxruntime makes one for every call

    def run(self, feed: Feed, outputs: int | None = None) -> list[NDArray[np.generic]]:
        """Return the first `outputs` outputs, or all; raise EngineError if the graph fails to run."""
        try:
            results: list[NDArray[np.generic]] = self.session.run(self._output_names[:outputs], feed, self._options)
        except Exception as error:
            raise run_failure(self.file, error) from error
        return results


def make_session(
    file: str, content: bytes, config: EngineConfig, providers: list[tuple[str, dict[str, Any]]]
) -> onnxruntime.InferenceSession:
    """Make an onnxruntime session and check which execution provider it got.

    Raises:
        PackageError: onnxruntime cannot load the graph.
        ProviderError: The session did not get the requested provider.
    """
    options = onnxruntime.SessionOptions()
    # Log only fatal errors: other errors are raised, warnings concern the exporter, and the lines are not JSON.
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # onnxruntime's own format would pass by the checks of `onnx_files`.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if config.spinning else "0")
    # Never spin between calls.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # On a GPU the CPU runs only the few nodes that CUDA has no kernel for.
    options.intra_op_num_threads = config.threads if config.provider == CPU else 1
    source: bytes | Path = content
    if config.shared_weights is not None and config.provider == CPU:
        from ganserve_server.engine.shared_weights import prepared

        if (optimised := prepared(config.shared_weights, content)) is not None:
            source = optimised
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # they are done
    try:
        with CAPTURE_LOCK.shared() if config.provider != CPU else contextlib.nullcontext():
            session = onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:
        raise PackageError(f"{file}: onnxruntime {onnxruntime.__version__} cannot load it: {error}") from error
    if session.get_providers()[0] != config.provider:
        raise ProviderError(
            f"{file}: asked onnxruntime for {config.provider} and got {', '.join(session.get_providers())} "
            "(its log says more)"
        )
    return session


def provider_options(
    content: bytes, config: EngineConfig, device: int, way: tuple[str, str], *, graphs: bool
) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers and their options, first choice first; `way` is cuDNN's search and the layout."""
    if config.provider == CPU:
        return [(CPU, {})]
    search, layout = way
    cuda = {
        "device_id": str(device),
        "cudnn_conv_algo_search": search.upper(),
        "arena_extend_strategy": "kSameAsRequested",
        "prefer_nhwc": "1" if layout == "nhwc" else "0",
        "use_tf32": "1" if uses_tf32(content, config) else "0",
        "enable_cuda_graph": "1" if graphs else "0",
    }
    if config.gpu_memory_limit_mib:
        cuda["gpu_mem_limit"] = str(config.gpu_memory_limit_mib * 2**20)
    if config.provider == TENSORRT:
        return [(TENSORRT, {"device_id": str(device)}), (CUDA, cuda), (CPU, {})]
    return [(CUDA, cuda), (CPU, {})]


def uses_tf32(content: bytes, config: EngineConfig) -> bool:
    """Return True if float32 may be rounded to TF32: where it is allowed, and always in graphs of half precision.

    Without TF32 onnxruntime uses no tensor cores in convolutions, not even for float16, which is three times as slow.
    """
    return config.provider not in ON_CPU and (config.tf32 or precision_of(content) in ("float16", "bfloat16"))


def nodes_by_provider(session: onnxruntime.InferenceSession) -> dict[str, int]:
    """Return how many nodes each execution provider runs."""
    counts: collections.Counter[str] = collections.Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(counts)


def is_out_of_memory(message: str) -> bool:
    """Return True if an error's message says that memory ran out."""
    text = message.lower()
    return any(sign in text for sign in _OUT_OF_MEMORY)


def run_failure(file: str, error: Exception) -> EngineError | MemoryFullError:
    """Return the error for a run that failed."""
    if is_out_of_memory(str(error)):
        return MemoryFullError(f"{file}: the device has no memory left: request fewer samples, or retry later")
    return EngineError(f"{file} could not be executed: {error}")


def trial_failure(device: str, count: int, error: EngineError | MemoryFullError) -> PackageError:
    """Return the error for a model whose trial run with `count` samples failed."""
    if isinstance(error, MemoryFullError):
        return PackageError(
            f"a trial run with {counted(count, 'sample')} found no memory left on {device}: lower --max-batch-size, "
            "raise --gpu-memory-limit-mib where it is set, or serve fewer models there"
        )
    return PackageError(f"a trial run with {counted(count, 'sample')} failed: {error}")
